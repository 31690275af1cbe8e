namespace Countersign.Recorder.Format;

/// <summary>Kinds of entries as they are encoded. Numbers and names are frozen (docs/formats/entry.md).</summary>
public enum EntryType : byte
{
    /// <summary>Never valid.</summary>
    None = 0,
    /// <summary><c>session.start</c></summary>
    SessionStart = 1,
    /// <summary><c>session.heartbeat</c></summary>
    SessionHeartbeat = 2,
    /// <summary><c>session.end</c></summary>
    SessionEnd = 3,
    /// <summary><c>operation</c></summary>
    Operation = 4,
    /// <summary><c>completion</c></summary>
    Completion = 5,
    /// <summary><c>hold</c></summary>
    Hold = 6,
    /// <summary><c>gateway</c></summary>
    Gateway = 7,
    /// <summary><c>seal</c></summary>
    Seal = 8,
    /// <summary><c>event</c></summary>
    Event = 9,
}

/// <summary>Names of the kinds, as they stand in exports.</summary>
public static class EntryTypeNames
{
    private static readonly string[] Names =
        ["", "session.start", "session.heartbeat", "session.end", "operation", "completion", "hold", "gateway", "seal", "event"];

    /// <summary>Whether the number is one of the kinds.</summary>
    public static bool IsKnown(EntryType type) => type is > EntryType.None and <= EntryType.Event;

    /// <summary>The name.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Not a kind.</exception>
    public static string Of(EntryType type) =>
        IsKnown(type) ? Names[(int)type] : throw new ArgumentOutOfRangeException(nameof(type), type, "There is no such kind of entry.");

    /// <summary>The kind of a name.</summary>
    public static bool TryParse(string? name, out EntryType type)
    {
        var index = string.IsNullOrEmpty(name) ? -1 : Array.IndexOf(Names, name);
        type = index > 0 ? (EntryType)index : EntryType.None;
        return index > 0;
    }
}
