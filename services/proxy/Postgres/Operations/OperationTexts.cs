using System.Globalization;
using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>Texts of a session and what they mean: one <see cref="UnderstoodText"/> a distinct analysis or shape, bounded.</summary>
/// <param name="session">The session.</param>
/// <param name="parser">The parser.</param>
/// <param name="masks">Masks of the session; null where nothing can be masked.</param>
/// <param name="grammarMatches">Whether the parser's grammar is the target's or a later one; else nothing is understood for certain.</param>
internal sealed class OperationTexts(PathSession session, SqlParser parser, SessionMasks? masks, bool grammarMatches)
{
    private const int MaxKept = 256;
    private readonly Dictionary<SqlAnalysis, UnderstoodText> _kept = new(ReferenceEqualityComparer.Instance);
    private readonly RowFunctions _ofRows = new();
    private UnderstoodText? _last;
    private string? _searchPath;

    /// <summary>What a text means.</summary>
    public async ValueTask<UnderstoodText> UnderstandAsync(ReadOnlyMemory<byte> text, CancellationToken cancellation)
    {
        var parsing = parser.AnalyzeAsync(text, standardConformingStrings: true, cancellation);
        var analysis = parsing.IsCompletedSuccessfully ? parsing.Result : await parsing.ConfigureAwait(false);
        if (_last is { } last && ReferenceEquals(last.Source, analysis))
        {
            return last;
        }

        if (!_kept.TryGetValue(analysis.Shape, out var understood))
        {
            if (_kept.Count == MaxKept)
            {
                _kept.Clear();
            }

            understood = Make(analysis.Shape);
            _kept.Add(analysis.Shape, understood);
        }

        if (!ReferenceEquals(understood.Source, analysis))
        {
            // A forced setting is found by the facts, which a shape shares.
            understood = ReferenceEquals(understood.Analysis, understood.Source) ? understood.For(analysis) : Make(analysis);
        }

        _last = understood;
        return understood;
    }

    /// <summary>
    /// Puts in place of every EXECUTE and FETCH what it runs, as the session has prepared or declared it, earlier in the same text or before it. What
    /// isn't known stays incomplete: a function may have prepared it.
    /// </summary>
    public UnderstoodText Resolve(UnderstoodText understood, SessionNames names)
    {
        var context = new Dictionary<string, string>(StringComparer.Ordinal);
        var resolved = understood.Source.Resolve((kind, name) =>
        {
            var definition = kind == SqlSessionEffectKind.Execute
                ? names.Definition(name)
                : names.Portal(name) is { } portal ? portal.Declared ?? portal.Operation?.Understood?.Analysis : null;
            if (definition is not null)
            {
                context[(kind == SqlSessionEffectKind.Execute ? "prepared " : "cursor ") + name] = definition.TrimmedText;
                if (kind == SqlSessionEffectKind.Execute && names.ParameterTypes(name) is { Length: > 0 } types && Array.Exists(types, static type => type != 0))
                {
                    // The text of a Parse doesn't say them, and they decide which operators and functions run.
                    context["types " + name] = string.Join(' ', types.Select(static type => type.ToString(CultureInfo.InvariantCulture)));
                }
            }

            return definition;
        });
        var kept = Forced(resolved);
        return new UnderstoodText(kept, Masking(kept), understood.Source) { Context = context };
    }

    /// <summary>
    /// Whether the session may have changed what unqualified names mean: from then on what relies on them isn't certain to only read (I5).
    /// Never taken back: whether a RESET or a ROLLBACK undoes all of it is the target's to know.
    /// </summary>
    public bool NamesMayDiffer { get; private set; }

    /// <summary>Notes the search_path that a session begins with. Where it has more schemas than the server's default, their owners may have put names before pg_catalog's or beside them.</summary>
    public void Begins(string searchPath)
    {
        _searchPath = searchPath;
        var schemas = searchPath.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        NamesMayDiffer |= schemas is not ([] or ["\"$user\"", "public"] or ["\"$user\""] or ["public"] or ["\"\""] or ["pg_catalog", ..]);
    }

    /// <summary>Notes that an operation is sent to the target.</summary>
    public void Forwarding(UnderstoodText? understood)
    {
        NamesMayDiffer |= understood is { ChangesNames: true };
        if (understood is { ChangesCatalog: true })
        {
            _ofRows.Forwarding(understood.Analysis);
        }
    }

    /// <summary>
    /// The same as policy must see it: what unqualified names may mean is taken into account, and so are functions that are called as if they were columns
    /// (<see cref="RowFunctions"/>). Where no catalog is kept those aren't found.
    /// </summary>
    public UnderstoodText Decided(UnderstoodText understood)
    {
        understood = NamesMayDiffer ? understood.WithoutNames : understood;
        if (masks is null || !understood.MayCallOfRows)
        {
            return understood;
        }

        var analysis = _ofRows.In(understood.Analysis, masks.Snapshot, !NamesMayDiffer);
        return ReferenceEquals(analysis, understood.Analysis) ? understood : understood.Calling(analysis, Masking(analysis));
    }

    /// <summary>What a Bind with parameters gives the path.</summary>
    public static UnderstoodOperation WithParameters(PostgresOperation operation, UnderstoodText understood)
    {
        var facts = understood.Analysis.Facts;
        if (!BoundParameters.AreReadable(operation))
        {
            facts = facts with { Incomplete = [.. facts.Incomplete, UnderstoodText.UnreadableParameter] };
        }

        return new UnderstoodOperation(facts, understood.Analysis.RecordedText, new BoundParameters(operation), understood.Masking);
    }

    /// <summary>A FunctionCall, which is never understood.</summary>
    public UnderstoodOperation FunctionCall(PostgresOperation operation)
    {
        var facts = new OperationFacts { Protocol = "postgres", Grammar = "none", Incomplete = [UnderstoodText.FunctionCall] };
        var text = operation.Message.Length >= 9
            ? $"function call of OID {System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(operation.Message.Span[5..])}"
            : "function call";
        return new UnderstoodOperation(facts, text, [], Masking(new SqlAnalysis { Facts = facts }));
    }

    /// <summary>Everything that the digest covers.</summary>
    /// <param name="operation">The operation.</param>
    /// <param name="row">Answer to <see cref="GatewayStatement.ReadContext"/>; null in a failed transaction.</param>
    /// <param name="blockOpen">Whether a transaction block is open.</param>
    public OperationIdentity Identity(PostgresOperation operation, string?[]? row, bool blockOpen)
    {
        var context = new Dictionary<string, string>(StringComparer.Ordinal);
        if (row is null)
        {
            context[PostgresContext.Transaction] = "failed";
        }
        else
        {
            if (row.Length != GatewayStatement.ContextColumns)
            {
                throw new GatewayStatementFailedException("The target answered the context with another number of columns.");
            }

            context[PostgresContext.SearchPath] = row[0] ?? "";
            context[PostgresContext.Role] = row[1] ?? "";
            context[PostgresContext.StandardConformingStrings] = row[2] ?? "";
            context[PostgresContext.DateStyle] = row[3] ?? "";
            context[PostgresContext.TimeZone] = row[4] ?? "";
            context[PostgresContext.Transaction] = blockOpen ? $"{row[5]}, {row[6]}" : "none";
            context[PostgresContext.TemporaryRelations] = row[7] ?? "";
            if (!ForcedSettings.IsKept(ForcedSettings.ClientEncoding, row[8] ?? "") || !ForcedSettings.IsKept(ForcedSettings.StandardConformingStrings, row[2] ?? ""))
            {
                throw ForcedSettings.Changed();
            }

            Unusual(context, PostgresContext.SessionReplicationRole, row[9], "origin");
            Unusual(context, PostgresContext.TransformNullEquals, row[10], "off");
            Unusual(context, PostgresContext.RowSecurity, row[11], "on");
            Unusual(context, PostgresContext.IntervalStyle, row[12], "postgres");
        }

        foreach (var (name, value) in operation.Understood?.Context ?? UnderstoodText.NoContext)
        {
            context[name] = value;
        }

        return new OperationIdentity
        {
            Protocol = "postgres",
            Text = operation.Understood?.Analysis.TrimmedText ?? "",
            Parameters = BoundParameters.ForDigest(operation),
            Connection = session.Connection,
            Database = session.Database,
            DatabaseRole = session.DatabaseRole,
            Person = session.Claims.Person,
            Context = context,
        };
    }

    /// <summary>
    /// Whether names, rights and rules are those of a session that has just begun: as the login's own role, with the search_path that it began with, without
    /// temporary relations, with triggers, foreign keys and row level security in force.
    /// </summary>
    /// <param name="row">Answer to <see cref="GatewayStatement.ReadContext"/>; null in a failed transaction.</param>
    public bool IsOwnContext(string?[]? row) => row is { Length: GatewayStatement.ContextColumns }
        && row[0] == _searchPath && row[1] == session.DatabaseRole && row[7] == "false" && row[9] == "origin" && row[11] == "on"
        && ForcedSettings.IsKept(ForcedSettings.ClientEncoding, row[8] ?? "") && ForcedSettings.IsKept(ForcedSettings.StandardConformingStrings, row[2] ?? "");

    /// <summary>What hardly anybody changes is only named where it is changed: digests made before it counted stay what they are.</summary>
    private static void Unusual(Dictionary<string, string> context, string name, string? value, string usual)
    {
        if (value != usual)
        {
            context[name] = value ?? "";
        }
    }

    private UnderstoodText Make(SqlAnalysis analysis)
    {
        var kept = Forced(analysis);
        return new UnderstoodText(kept, Masking(kept), analysis);
    }

    private IMaskAnalysis Masking(SqlAnalysis analysis) => masks?.Analyze(analysis) ?? Nothing.Instance;

    private SqlAnalysis Forced(SqlAnalysis analysis)
    {
        var forced = ForcedSettings.IsChangedBy(analysis);
        if (!forced && grammarMatches)
        {
            return analysis;
        }

        List<string> incomplete = [.. analysis.Facts.Incomplete];
        if (forced)
        {
            incomplete.Add(UnderstoodText.ForcedSetting);
        }

        if (!grammarMatches)
        {
            // A newer server may read the same text another way, also where it parses here.
            incomplete.Add(IncompleteCodes.GrammarMismatch);
        }

        return UnderstoodText.With(analysis, analysis.Facts with { Incomplete = incomplete });
    }

    /// <summary>Where no catalog is kept no masks can be planned; <see cref="ProtocolRules"/> denies what would need them.</summary>
    private sealed class Nothing : IMaskAnalysis
    {
        public static readonly Nothing Instance = new();

        public MaskPlan Plan(Obligations obligations) => obligations.Masks.Count == 0 && obligations.Detectors.Count == 0 && obligations.RowLimit is null
            ? MaskPlan.None
            : throw new InvalidOperationException("There is no catalog to plan masks with.");
    }
}
