using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>What a text means in a session. Shared by all operations with this text.</summary>
internal sealed class UnderstoodText
{
    /// <summary>A code of <see cref="OperationFacts.Incomplete"/>: the text changes a setting that the gateway keeps. Always denied.</summary>
    public const string ForcedSetting = "forced-setting";

    /// <summary>A code: FunctionCall names a function by OID and carries values in binary; always denied.</summary>
    public const string FunctionCall = "function-call";

    /// <summary>A code: a parameter's bytes can't be shown as text, so nobody could approve it.</summary>
    public const string UnreadableParameter = "unreadable-parameter";

    public static readonly IReadOnlyDictionary<string, string> NoContext = new Dictionary<string, string>();

    /// <param name="analysis">What holds in this session.</param>
    /// <param name="masking">What must be masked.</param>
    /// <param name="source">The analysis as the parser gave it.</param>
    public UnderstoodText(SqlAnalysis analysis, IMaskAnalysis masking, SqlAnalysis source)
    {
        Analysis = analysis;
        Source = source;
        Masking = masking;
        Operation = new UnderstoodOperation(analysis.Facts, analysis.RecordedText, [], masking);
        MayCallOfRows = Catalog.RowFunctions.MayBeIn(analysis);
        ChangesCatalog = Rows.PostgresMaskAnalysis.ChangesCatalog(source);
        ChangesNames = ChangesCatalog || !analysis.Facts.Complete;
        OnlyReads = analysis.Facts.Complete;
        foreach (var statement in analysis.Statements)
        {
            ReliesOnNames |= statement.ReliesOnSearchPath && statement.Facts.ReadOnly;
            ChangesNames |= statement.Facts.ImpureFunctions.Count > 0;
            OnlyReads &= statement.Facts.ReadOnly;
            foreach (var setting in statement.Settings)
            {
                ChangesNames |= setting.Name is "search_path" or "role" or "session_authorization";
            }
        }

        foreach (var statement in source.Statements)
        {
            HasEffects |= statement.Effect is not null;
            UsesNames |= statement.Effect is { Kind: SqlSessionEffectKind.Execute or SqlSessionEffectKind.Fetch };
            CopiesIn |= statement.Copy is { From: true, ToClient: true };
            Copies |= statement.Copy is { ToClient: true };
            BeginsTransaction |= statement.Facts.Kinds is ["BEGIN" or "START TRANSACTION", ..];
        }
    }

    public SqlAnalysis Analysis { get; private set; }

    /// <summary>The analysis as the parser gave it, with EXECUTE and FETCH not resolved: its effects on names count.</summary>
    public SqlAnalysis Source { get; private set; }

    /// <summary>Definitions of what EXECUTE and FETCH run, for the digest and for approvers.</summary>
    public IReadOnlyDictionary<string, string> Context { get; init; } = NoContext;

    public IMaskAnalysis Masking { get; }

    /// <summary>What the path gets where there are no parameters.</summary>
    public UnderstoodOperation Operation { get; private set; }

    /// <summary>Whether it touches the session's tables of prepared statements and cursors.</summary>
    public bool HasEffects { get; }

    /// <summary>Whether it runs something that was prepared or declared earlier.</summary>
    public bool UsesNames { get; }

    /// <summary>Whether a statement of it takes COPY data from the client.</summary>
    public bool CopiesIn { get; }

    /// <summary>Whether a statement of it exchanges COPY data with the client.</summary>
    public bool Copies { get; }

    /// <summary>Whether it may change what the catalog says.</summary>
    public bool ChangesCatalog { get; }

    /// <summary>Whether it has names (<c>t.f</c>) that the catalog must tell from calls of functions.</summary>
    public bool MayCallOfRows { get; }

    /// <summary>Whether it opens a transaction block.</summary>
    public bool BeginsTransaction { get; }

    /// <summary>Whether what unqualified names mean may be another thing in the session once it has run.</summary>
    public bool ChangesNames { get; }

    /// <summary>Whether it is certain to do nothing but read, and so not to change a setting by a function, trigger or default either.</summary>
    public bool OnlyReads { get; }

    /// <summary>Whether it only reads as long as unqualified names of functions, operators and types mean pg_catalog's.</summary>
    public bool ReliesOnNames { get; private init; }

    /// <summary>The same where unqualified names may mean something else: nothing that relies on them counts as certain to only read.</summary>
    public UnderstoodText WithoutNames => !ReliesOnNames ? this : _withoutNames ??= MakeWithoutNames();

    private UnderstoodText? _withoutNames;

    /// <summary>The same for another text of the same shape: all that is known of the one holds for the other.</summary>
    /// <param name="analysis">The text's own analysis.</param>
    public UnderstoodText For(SqlAnalysis analysis)
    {
        if (!ReferenceEquals(analysis.Shape, Source.Shape) || !ReferenceEquals(Analysis, Source))
        {
            throw new InvalidOperationException("The texts are not of one shape.");
        }

        var other = (UnderstoodText)MemberwiseClone();
        other.Analysis = analysis;
        other.Source = analysis;
        other.Operation = new UnderstoodOperation(analysis.Facts, analysis.RecordedText, [], Masking);
        other._withoutNames = null;
        return other;
    }

    /// <summary>The same with other facts, in which more functions are called.</summary>
    /// <param name="analysis">With those facts.</param>
    /// <param name="masking">Of it.</param>
    public UnderstoodText Calling(SqlAnalysis analysis, IMaskAnalysis masking) =>
        new(analysis, masking, Source) { Context = Context, ReliesOnNames = ReliesOnNames };

    private UnderstoodText MakeWithoutNames()
    {
        var statements = Analysis.Facts.Statements.Select((facts, index) =>
            index < Analysis.Statements.Count && !Analysis.Statements[index].ReliesOnSearchPath ? facts : facts with { ReadOnly = false });
        return new UnderstoodText(With(Analysis, Analysis.Facts with { Statements = [.. statements] }), Masking, Source) { Context = Context, ReliesOnNames = false };
    }

    /// <summary>The same with other facts.</summary>
    public static SqlAnalysis With(SqlAnalysis analysis, OperationFacts facts) => new()
    {
        Facts = facts,
        Statements = analysis.Statements,
        TrimmedText = analysis.TrimmedText,
        RecordedText = analysis.RecordedText,
    };
}
