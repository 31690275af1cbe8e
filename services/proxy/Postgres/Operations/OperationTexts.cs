using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>Texts of a session and what they mean: one <see cref="UnderstoodText"/> a distinct analysis, bounded.</summary>
internal sealed class OperationTexts(PathSession session, IPostgresUnderstanding understanding)
{
    private const int MaxKept = 256;
    private readonly Dictionary<SqlAnalysis, UnderstoodText> _kept = new(ReferenceEqualityComparer.Instance);
    private UnderstoodText? _last;

    /// <summary>What a text means.</summary>
    public async ValueTask<UnderstoodText> UnderstandAsync(ReadOnlyMemory<byte> text, CancellationToken cancellation)
    {
        var analysis = await understanding.AnalyzeAsync(text, cancellation).ConfigureAwait(false);
        if (_last is { } last && ReferenceEquals(last.Source, analysis))
        {
            return last;
        }

        if (!_kept.TryGetValue(analysis, out var understood))
        {
            if (_kept.Count == MaxKept)
            {
                _kept.Clear();
            }

            understood = Make(analysis);
            _kept.Add(analysis, understood);
        }

        _last = understood;
        return understood;
    }

    /// <summary>Makes sure that masks can be planned.</summary>
    public ValueTask ReadyAsync(CancellationToken cancellation) => understanding.ReadyAsync(session, cancellation);

    /// <summary>
    /// Puts in place of every EXECUTE and FETCH what it runs, as the session has prepared or declared it, earlier in the same text or before it. What
    /// isn't known makes the operation incomplete: a function may have prepared it.
    /// </summary>
    public UnderstoodText Resolve(UnderstoodText understood, SessionNames names)
    {
        var analysis = understood.Source;
        var statements = analysis.Statements.ToArray();
        var facts = analysis.Facts.Statements.ToArray();
        var incomplete = analysis.Facts.Incomplete.Where(code => code is not (UnresolvedExecute or UnresolvedFetch)).ToList();
        var prepared = new Dictionary<string, SqlAnalysis?>(StringComparer.Ordinal);
        var declared = new Dictionary<string, SqlAnalysis?>(StringComparer.Ordinal);
        var context = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var index = 0; index < statements.Length; index++)
        {
            if (statements[index].Effect is not { } effect)
            {
                continue;
            }

            switch (effect.Kind)
            {
                case SqlSessionEffectKind.Prepare when effect.Name is not null:
                    prepared[effect.Name] = effect.Definition;
                    break;
                case SqlSessionEffectKind.Declare when effect.Name is not null:
                    declared[effect.Name] = effect.Definition;
                    break;
                case SqlSessionEffectKind.Execute or SqlSessionEffectKind.Fetch:
                    var execute = effect.Kind == SqlSessionEffectKind.Execute;
                    var name = effect.Name ?? "";
                    var local = execute ? prepared : declared;
                    if (!local.TryGetValue(name, out var definition))
                    {
                        definition = execute ? names.Definition(name) : names.Portal(name) is { } portal
                            ? portal.Declared ?? portal.Operation?.Understood?.Analysis
                            : null;
                    }

                    if (definition is not { Statements: [var inner], Facts.Statements: [var innerFacts] })
                    {
                        incomplete.Add(UnderstoodText.UnknownName);
                        break;
                    }

                    incomplete.AddRange(definition.Facts.Incomplete);
                    context[(execute ? "prepared " : "cursor ") + name] = definition.TrimmedText;
                    statements[index] = inner;
                    facts[index] = innerFacts with
                    {
                        Kinds = execute ? innerFacts.Kinds : ["FETCH", .. innerFacts.Kinds],
                        Start = facts[index].Start,
                        Length = facts[index].Length,
                    };
                    break;
                default:
                    break;
            }
        }

        var resolved = UnderstoodText.With(
            analysis, analysis.Facts with { Statements = facts, Incomplete = [.. incomplete.Distinct(StringComparer.Ordinal)] }, statements);
        return new UnderstoodText(resolved, understanding.Masking(session, resolved), analysis) { Context = context };
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
        return new UnderstoodOperation(facts, text, [], understanding.Masking(session, new SqlAnalysis { Facts = facts }));
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
            if (row.Length != 8)
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

    private UnderstoodText Make(SqlAnalysis analysis)
    {
        var source = analysis;
        if (ForcedSettings.IsChangedBy(analysis))
        {
            analysis = UnderstoodText.With(analysis, analysis.Facts with { Incomplete = [.. analysis.Facts.Incomplete, UnderstoodText.ForcedSetting] });
        }

        return new UnderstoodText(analysis, understanding.Masking(session, analysis), source);
    }

    /// <summary>Codes by which the parser says that it doesn't know what an EXECUTE or FETCH runs; here it is known, or <see cref="UnderstoodText.UnknownName"/> is said.</summary>
    private const string UnresolvedExecute = "execute";
    private const string UnresolvedFetch = "fetch";
}
