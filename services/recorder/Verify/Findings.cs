namespace Countersign.Recorder.Verify;

/// <summary>How bad a finding is.</summary>
public enum Severity
{
    /// <summary>Worth knowing; the evidence is whole.</summary>
    Notice,
    /// <summary>The evidence is not what was recorded.</summary>
    Error,
}

/// <summary>Kinds of findings, as they stand in reports.</summary>
public static class FindingKinds
{
    /// <summary>The first line is no header, or says something impossible.</summary>
    public const string Header = "header";
    /// <summary>A line can't be read as what it must be.</summary>
    public const string Malformed = "malformed";
    /// <summary>The entry's content is not what its leaf hash commits to.</summary>
    public const string Altered = "altered";
    /// <summary>Entries are missing.</summary>
    public const string Removed = "removed";
    /// <summary>An entry stands where it does not belong.</summary>
    public const string Reordered = "reordered";
    /// <summary>An entry that does not belong to its session or to the range.</summary>
    public const string Inserted = "inserted";
    /// <summary>An entry does not follow the one before it in its session.</summary>
    public const string Chain = "chain";
    /// <summary>A seal does not verify.</summary>
    public const string Seal = "seal";
    /// <summary>The range is not what the signed checkpoint covers.</summary>
    public const string Root = "root";
    /// <summary>The checkpoint or the statement of keys is not signed by the key given.</summary>
    public const string Signature = "signature";
    /// <summary>The log is shorter than the pinned checkpoint: it was rolled back, or its tail is missing.</summary>
    public const string RolledBack = "rolled-back";
    /// <summary>The log has another history than the pinned checkpoint.</summary>
    public const string Fork = "fork";
    /// <summary>The pinned checkpoint can't be compared with this export.</summary>
    public const string NotComparable = "not-comparable";
    /// <summary>A session has no end in the range.</summary>
    public const string OpenEnd = "open-end";
    /// <summary>The last entries of a session are not sealed in the range.</summary>
    public const string Unsealed = "unsealed";
    /// <summary>A session began before the range.</summary>
    public const string OpenBegin = "open-begin";
    /// <summary>Payloads were deleted by retention.</summary>
    public const string Erased = "erased";
    /// <summary>More was found than a report holds.</summary>
    public const string More = "more";
}

/// <summary>Something that was found.</summary>
/// <param name="Severity">How bad.</param>
/// <param name="Kind">One of <see cref="FindingKinds"/>.</param>
/// <param name="Message">For people.</param>
/// <param name="Line">Line in the file, from 1; 0 where it concerns the whole.</param>
/// <param name="Index">Position in the log, null where it concerns no single entry.</param>
/// <param name="EntryId">Entry id, hex.</param>
/// <param name="Session">Session.</param>
/// <param name="Sequence">Number in the session.</param>
public sealed record Finding(
    Severity Severity, string Kind, string Message, long Line = 0, long? Index = null, string? EntryId = null, string? Session = null, long? Sequence = null);

/// <summary>What was looked at.</summary>
/// <param name="Origin">Name of the log.</param>
/// <param name="From">First index.</param>
/// <param name="To">Index after the last.</param>
/// <param name="LogSize">Entries in the log at the checkpoint.</param>
/// <param name="Root">Root hash at the checkpoint, lower-case hex.</param>
/// <param name="Entries">Entries that were verified with their content.</param>
/// <param name="Erased">Entries whose payload was deleted; their hashes were verified.</param>
/// <param name="Omitted">Entries that the export leaves out; their hashes were verified.</param>
/// <param name="Sessions">Sessions seen.</param>
/// <param name="Seals">Seals that verified.</param>
/// <param name="FirstAt">Time of the earliest entry.</param>
/// <param name="LastAt">Time of the latest entry.</param>
public sealed record VerifySummary(
    string Origin, long From, long To, long LogSize, string Root, long Entries, long Erased, long Omitted, long Sessions, long Seals,
    DateTimeOffset? FirstAt, DateTimeOffset? LastAt);

/// <summary>Result of a verification.</summary>
/// <param name="Verified">True where there is no finding of severity <see cref="Severity.Error"/>.</param>
/// <param name="Findings">In the order of the file; at most <see cref="VerifyOptions.MaxFindings"/>.</param>
/// <param name="Summary">What was looked at.</param>
public sealed record VerifyReport(bool Verified, IReadOnlyList<Finding> Findings, VerifySummary Summary);

/// <summary>What to verify with. Everything here must come from somewhere else than the export.</summary>
public sealed record VerifyOptions
{
    /// <summary>Verifier key line of the log (<c>GET /recorder/v1/key</c>).</summary>
    public required string Key { get; init; }
    /// <summary>A checkpoint kept outside; null to verify without one.</summary>
    public string? PinnedCheckpoint { get; init; }
    /// <summary>Ids of the keys that may seal sessions, kept outside; null to believe the recorder's statement.</summary>
    public IReadOnlyCollection<string>? PinnedSealKeys { get; init; }
    /// <summary>Most findings in a report.</summary>
    public int MaxFindings { get; init; } = 1000;
}

/// <summary>Collects findings up to a bound; counts all.</summary>
internal sealed class FindingList(int max)
{
    private readonly List<Finding> _findings = [];
    private long _dropped;

    public bool HasErrors { get; private set; }

    public void Add(Finding finding)
    {
        HasErrors |= finding.Severity == Severity.Error;
        if (_findings.Count < max)
        {
            _findings.Add(finding);
        }
        else
        {
            _dropped++;
        }
    }

    public IReadOnlyList<Finding> ToList() => _dropped == 0
        ? _findings
        : [.. _findings, new Finding(HasErrors ? Severity.Error : Severity.Notice, FindingKinds.More, $"{_dropped} further findings are not listed")];
}
