using Countersign.Recorder.Format;

namespace Countersign.Recorder.Verify;

/// <summary>Follows the lines of the range: positions, links, leaf hashes, and at its end the root and the pinned checkpoint.</summary>
internal sealed class RangeReader
{
    private readonly ExportHead _head;
    private readonly Checkpoint? _pinned;
    private readonly SessionChains _chains;
    private readonly FindingList _findings;
    private readonly CompactRange _tree = new();
    private Hash256? _pinnedRoot;
    private bool _treeBroken;
    private long _next;
    private ulong _link;
    private bool _linkKnown = true;
    private long _entries;
    private long _erased;
    private long _omitted;
    private long? _first;
    private long? _last;

    public RangeReader(ExportHead head, Checkpoint? pinned, SessionChains chains, FindingList findings)
    {
        _head = head;
        _pinned = pinned;
        _chains = chains;
        _findings = findings;
        _next = head.Header.From;
        var left = CompactRange.Cover(0, head.Header.From);
        for (var index = 0; index < left.Count; index++)
        {
            _tree.AppendNode(left[index].Level, head.Header.Left[index]);
        }

        RememberPinned();
    }

    public void Malformed(long line, string reason)
    {
        Error(FindingKinds.Malformed, $"line {line}, where the entry at position {_next} must be: {reason}", line, _next);

        // The line takes the place of one entry: those behind it are looked at as if it had been good.
        _next++;
        _treeBroken = true;
        _linkKnown = false;
    }

    public void Add(ExportLine line, long number)
    {
        if (line.Index != _next && _linkKnown && line.Link == ExportLine.LinkOf(_link, _next, line.Leaf))
        {
            Error(FindingKinds.Altered, $"{Name(line)} is at position {_next} by its link, but says otherwise: its position was altered", number, line);
            line = line with { Index = _next };
        }

        var entry = line.Entry;
        if (line.Index != _next)
        {
            Misplaced(line, number);
            if (line.Index < _next)
            {
                // A second time, or too late: it must not stand for another.
                _treeBroken = true;
                return;
            }

            _next = line.Index;
            _treeBroken = true;
            _linkKnown = false;
        }

        if (_next >= _head.Header.To)
        {
            Error(FindingKinds.Inserted, $"{Name(line)} stands behind the end of the range", number, line);
            _treeBroken = true;
        }

        if (_linkKnown && line.Link != ExportLine.LinkOf(_link, line.Index, line.Leaf))
        {
            Error(FindingKinds.Reordered, $"{Name(line)} does not follow the line before it: it was moved, replaced or altered, or one before it was removed", number, line);
        }

        _link = line.Link;
        _linkKnown = true;
        if (entry is not null && entry.LeafHash != line.Leaf)
        {
            Error(FindingKinds.Altered, $"{Name(line)} is not what its hash commits to: it was altered", number, line);
        }

        Append(line.Leaf);
        Count(entry);
        if (entry is not null)
        {
            _chains.Add(entry, number, line.Index);
        }
    }

    public void Finish(long lines)
    {
        var header = _head.Header;
        if (_next < header.To)
        {
            Error(FindingKinds.Removed, $"the entries at positions {_next} to {header.To - 1} are missing at the end", lines, _next);
            _treeBroken = true;
        }

        if (_head.Checkpoint is not { } checkpoint)
        {
            return;
        }

        if (!_treeBroken)
        {
            var right = CompactRange.Cover(header.To, checkpoint.Size);
            for (var index = 0; index < right.Count; index++)
            {
                _tree.AppendNode(right[index].Level, header.Right[index]);
            }

            RememberPinned();
        }

        if (_treeBroken || _tree.Root() != checkpoint.Root)
        {
            _findings.Add(new Finding(
                Severity.Error, FindingKinds.Root, $"the entries {header.From} to {header.To} are not those that the signed checkpoint of {checkpoint.Size} entries covers"));
        }

        ComparePinned(checkpoint);
        if (_erased > 0)
        {
            _findings.Add(new Finding(Severity.Notice, FindingKinds.Erased, $"the payloads of {_erased} entries were deleted by retention; their hashes are good"));
        }
    }

    public VerifySummary Summarise() => new(
        _head.Origin, _head.Header.From, _head.Header.To, _head.Checkpoint?.Size ?? 0, _head.Checkpoint?.Root.ToString() ?? "", _entries, _erased, _omitted,
        _chains.Count, _chains.Seals, Time(_first), Time(_last));

    private static DateTimeOffset? Time(long? microseconds) =>
        microseconds is { } value ? DateTimeOffset.UnixEpoch.AddTicks(value * TimeSpan.TicksPerMicrosecond) : null;

    private static string Name(ExportLine line) => line.Entry is { } entry
        ? $"entry {entry.IdText} (position {line.Index}, number {entry.Sequence} of session {entry.Session})"
        : $"the omitted entry at position {line.Index}";

    private void Misplaced(ExportLine line, long number)
    {
        if (line.Index > _next)
        {
            Error(FindingKinds.Removed, $"the entries at positions {_next} to {line.Index - 1} are missing before {Name(line)}", number, line);
        }
        else
        {
            Error(FindingKinds.Reordered, $"{Name(line)} stands where position {_next} must be: it was moved, inserted or doubled", number, line);
        }
    }

    private void Append(in Hash256 leaf)
    {
        _next++;
        if (!_treeBroken)
        {
            _tree.Append(leaf);
            RememberPinned();
        }
    }

    // Any head whose size is passed on the way is known exactly: no proof is needed to compare it.
    private void RememberPinned()
    {
        if (_pinned is not null && _pinnedRoot is null && _tree.End == _pinned.Size)
        {
            _pinnedRoot = _tree.Root();
        }
    }

    private void ComparePinned(Checkpoint checkpoint)
    {
        if (_pinned is null)
        {
            return;
        }

        if (_pinned.Size > checkpoint.Size)
        {
            _findings.Add(new Finding(
                Severity.Error, FindingKinds.RolledBack,
                $"the pinned checkpoint has {_pinned.Size} entries, this log only {checkpoint.Size}: its tail is missing or it was rolled back", Index: checkpoint.Size));
            return;
        }

        var known = _pinnedRoot;
        if (_pinned.Size == checkpoint.Size)
        {
            known = checkpoint.Root;
        }
        else if (known is null && _head.Header.Since is { } since && since.Size == _pinned.Size)
        {
            // Its proof to the checkpoint was verified with the header.
            known = since.Root;
        }

        if (known is null)
        {
            // After a break the tree is unknown, which was reported; otherwise the caller must ask for an export that can be compared.
            _findings.Add(new Finding(
                Severity.Error, FindingKinds.NotComparable,
                $"the pinned checkpoint of {_pinned.Size} entries can't be compared with this export: export from the start, or with since={_pinned.Size}"));
        }
        else if (known != _pinned.Root)
        {
            _findings.Add(new Finding(
                Severity.Error, FindingKinds.Fork, $"this log has another history than the pinned checkpoint of {_pinned.Size} entries", Index: _pinned.Size));
        }
    }

    private void Count(Entry? entry)
    {
        if (entry is null)
        {
            _omitted++;
            return;
        }

        _entries++;
        _erased += entry.IsErased ? 1 : 0;
        var time = entry.TimeMicroseconds;
        _first = _first is { } first ? Math.Min(first, time) : time;
        _last = _last is { } last ? Math.Max(last, time) : time;
    }

    private void Error(string kind, string message, long line, ExportLine subject) =>
        _findings.Add(new Finding(
            Severity.Error, kind, message, line, subject.Index, subject.Entry?.IdText, subject.Entry?.Session, subject.Entry?.Sequence));

    private void Error(string kind, string message, long line, long index) => _findings.Add(new Finding(Severity.Error, kind, message, line, index));
}
