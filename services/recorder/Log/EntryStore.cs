using System.Globalization;
using Countersign.Recorder.Format;
using Microsoft.Win32.SafeHandles;

namespace Countersign.Recorder.Log;

/// <summary>
/// The entries themselves, in files of frames (docs/formats/log.md). Appending is durable when it returns. The one place
/// where a retention may replace a closed file by one without payloads.
/// </summary>
internal sealed class EntryStore : IDisposable
{
    private readonly string _directory;
    private readonly long _segmentBytes;
    private readonly Lock _gate = new();
    private readonly List<Segment> _segments = [];

    private EntryStore(string directory, long segmentBytes) => (_directory, _segmentBytes) = (directory, segmentBytes);

    /// <summary>Entries stored.</summary>
    public long Count
    {
        get
        {
            lock (_gate)
            {
                return _segments.Count == 0 ? 0 : _segments[^1].End;
            }
        }
    }

    /// <summary>Bytes of a torn tail that opening cut off.</summary>
    public long Healed { get; private set; }

    /// <summary>Opens the folder. Entries that were not written to their end are cut off: none of them was acknowledged.</summary>
    /// <exception cref="LogFailedException">A file other than the last is damaged, or one is missing.</exception>
    public static EntryStore Open(string directory, long segmentBytes)
    {
        Directory.CreateDirectory(directory);
        var store = new EntryStore(directory, segmentBytes);
        var files = Directory.GetFiles(directory, "*.seg").Order(StringComparer.Ordinal).ToArray();
        foreach (var path in files)
        {
            if (!long.TryParse(Path.GetFileNameWithoutExtension(path), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var first) || first != store.Count)
            {
                throw new LogFailedException($"{Path.GetFileName(path)} is not the file of entries that must come next: one is missing");
            }

            var isLast = path == files[^1];
            var segment = Segment.Open(path, first, isLast, out var healed);
            store.Healed += healed;
            store._segments.Add(segment);
        }

        return store;
    }

    /// <summary>Appends frames; durable when it returns.</summary>
    public void Append(ReadOnlySpan<byte> frames, ReadOnlySpan<int> lengths)
    {
        Segment segment;
        lock (_gate)
        {
            if (_segments.Count == 0 || (_segments[^1].Length > 0 && _segments[^1].Length + frames.Length > _segmentBytes))
            {
                var first = _segments.Count == 0 ? 0 : _segments[^1].End;
                var path = Path.Combine(_directory, first.ToString("x16", CultureInfo.InvariantCulture) + ".seg");
                _segments.Add(Segment.Open(path, first, isLast: true, out _));
                Durable.Directory(_directory);
            }

            segment = _segments[^1];
        }

        segment.Append(frames, lengths, _gate);
    }

    /// <summary>Reads entries one behind the other.</summary>
    public IReadOnlyList<Entry> Read(long from, int maxEntries, int maxBytes)
    {
        lock (_gate)
        {
            var low = 0;
            var high = _segments.Count - 1;
            while (low < high)
            {
                var middle = (low + high + 1) / 2;
                (low, high) = _segments[middle].First <= from ? (middle, high) : (low, middle - 1);
            }

            if (_segments.Count == 0 || from < _segments[low].First || from >= _segments[low].End)
            {
                return [];
            }

            return _segments[low].Read(from, maxEntries, maxBytes);
        }
    }

    /// <summary>Deletes salts and payloads of whole closed files whose entries are all older than a time. Seals keep theirs: they hold nothing of anybody.</summary>
    /// <returns>Entries erased.</returns>
    public long Erase(DateTimeOffset before)
    {
        long erased = 0;
        Segment[] closed;
        lock (_gate)
        {
            closed = [.. _segments.Take(_segments.Count - 1).Where(segment => !segment.IsErased)];
        }

        foreach (var segment in closed)
        {
            if (!segment.IsOlderThan(before))
            {
                break;
            }

            erased += segment.WriteErased();
            lock (_gate)
            {
                segment.TakeErased();
            }
        }

        return erased;
    }

    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var segment in _segments)
            {
                segment.Dispose();
            }

            _segments.Clear();
        }
    }

    /// <summary>One file of entries.</summary>
    private sealed class Segment : IDisposable
    {
        private const int Window = 1024 * 1024;
        private readonly string _path;
        private SafeFileHandle _file;
        private List<long> _offsets = [];

        private Segment(string path, long first)
        {
            (_path, First) = (path, first);
            _file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
            Length = RandomAccess.GetLength(_file);
        }

        public long First { get; }

        public long End => First + _offsets.Count;

        public long Length { get; private set; }

        public bool IsErased => File.Exists(_path + ".erased");

        public static Segment Open(string path, long first, bool isLast, out long healed)
        {
            var segment = new Segment(path, first);
            healed = segment.Scan(isLast);
            return segment;
        }

        public void Append(ReadOnlySpan<byte> frames, ReadOnlySpan<int> lengths, Lock gate)
        {
            RandomAccess.Write(_file, frames, Length);
            Durable.Data(_file);
            lock (gate)
            {
                foreach (var length in lengths)
                {
                    _offsets.Add(Length);
                    Length += length;
                }
            }
        }

        public List<Entry> Read(long from, int maxEntries, int maxBytes)
        {
            var begin = (int)(from - First);
            var count = 1;
            long bytes = OffsetOf(begin + 1) - OffsetOf(begin);
            while (count < maxEntries && begin + count < _offsets.Count && bytes < maxBytes)
            {
                bytes = OffsetOf(begin + ++count) - OffsetOf(begin);
            }

            var buffer = GC.AllocateUninitializedArray<byte>((int)bytes);
            if (Durable.Read(_file, buffer, OffsetOf(begin)) < bytes)
            {
                throw new LogFailedException($"{Path.GetFileName(_path)} is shorter than it was");
            }

            try
            {
                return [.. EntryFrame.ReadAll(buffer)];
            }
            catch (EntryFormatException error)
            {
                throw new LogFailedException($"{Path.GetFileName(_path)} is damaged behind entry {from}", error);
            }
        }

        public bool IsOlderThan(DateTimeOffset before)
        {
            for (var index = First; index < End;)
            {
                var entries = Read(index, 4096, Window);
                if (entries.Any(entry => entry.Time >= before))
                {
                    return false;
                }

                index += entries.Count;
            }

            return true;
        }

        public long WriteErased()
        {
            long erased = 0;
            using var stream = new FileStream(_path + ".tmp", FileMode.Create, FileAccess.Write);
            var frame = new byte[EntryFrame.PrefixSize + Entry.MaxBody];
            for (var index = First; index < End;)
            {
                var entries = Read(index, 4096, Window);
                foreach (var entry in entries)
                {
                    var kept = entry.Type == EntryType.Seal || entry.IsErased ? entry : entry.Erase();
                    erased += ReferenceEquals(kept, entry) ? 0 : 1;
                    stream.Write(frame, 0, EntryFrame.Write(frame, kept.Body.Span));
                }

                index += entries.Count;
            }

            stream.Flush(flushToDisk: true);
            return erased;
        }

        public void TakeErased()
        {
            _file.Dispose();
            File.Move(_path + ".tmp", _path, overwrite: true);
            File.WriteAllBytes(_path + ".erased", []);
            Durable.Directory(Path.GetDirectoryName(_path)!);
            _file = File.OpenHandle(_path, FileMode.Open, FileAccess.ReadWrite, FileShare.Read);
            Length = RandomAccess.GetLength(_file);
            var count = _offsets.Count;
            _offsets = [];
            Scan(isLast: false);
            if (_offsets.Count != count)
            {
                throw new LogFailedException($"{Path.GetFileName(_path)} has lost entries while it was erased");
            }
        }

        public void Dispose() => _file.Dispose();

        private long OffsetOf(int index) => index < _offsets.Count ? _offsets[index] : Length;

        // Reads prefixes and checksums of all frames: a damaged one in the middle is damage, at the end of the last file a torn tail.
        private long Scan(bool isLast)
        {
            var buffer = new byte[Window];
            long offset = 0;
            var begin = 0;
            var filled = 0;
            while (true)
            {
                var status = EntryFrame.TryRead(buffer.AsSpan(begin, filled - begin), out var body);
                if (status == FrameStatus.Good)
                {
                    _offsets.Add(offset);
                    begin += EntryFrame.PrefixSize + body;
                    offset += EntryFrame.PrefixSize + body;
                    continue;
                }

                if (status == FrameStatus.Incomplete && offset + (filled - begin) < Length)
                {
                    buffer.AsSpan(begin, filled - begin).CopyTo(buffer);
                    (filled, begin) = (filled - begin, 0);
                    if (filled == buffer.Length)
                    {
                        Array.Resize(ref buffer, buffer.Length * 2);
                    }

                    filled += Durable.Read(_file, buffer.AsSpan(filled), offset + filled);
                    continue;
                }

                if (offset == Length)
                {
                    return 0;
                }

                if (!isLast)
                {
                    throw new LogFailedException($"{Path.GetFileName(_path)} is damaged at byte {offset}");
                }

                var healed = Length - offset;
                RandomAccess.SetLength(_file, offset);
                RandomAccess.FlushToDisk(_file);
                Length = offset;
                return healed;
            }
        }
    }
}

/// <summary>Durability of files.</summary>
internal static class Durable
{
    public static void Data(SafeFileHandle file) => RandomAccess.FlushToDisk(file);

    /// <summary>Reads as much as there is.</summary>
    public static int Read(SafeFileHandle file, Span<byte> buffer, long offset)
    {
        var filled = 0;
        while (filled < buffer.Length && RandomAccess.Read(file, buffer[filled..], offset + filled) is > 0 and var read)
        {
            filled += read;
        }

        return filled;
    }

    /// <summary>Replaces a file as a whole; durable when it returns.</summary>
    public static void Replace(string path, ReadOnlySpan<byte> content)
    {
        var temporary = path + ".tmp";
        using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write))
        {
            stream.Write(content);
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
        Directory(Path.GetDirectoryName(path)!);
    }

    /// <summary>Makes the names in a folder durable.</summary>
    public static void Directory(string path)
    {
        // A directory can't be opened by File.OpenHandle; a descriptor is all that fsync needs.
        byte[] name = [.. System.Text.Encoding.UTF8.GetBytes(path), 0];
        const int ReadOnlyCloseOnExec = 0x80000;
        using var handle = new SafeFileHandle(NativeOpen(name, ReadOnlyCloseOnExec, 0), ownsHandle: true);
        if (handle.IsInvalid || NativeSync((int)handle.DangerousGetHandle()) != 0)
        {
            throw new IOException($"the folder {path} can't be synced");
        }
    }

#pragma warning disable SYSLIB1054, CA5392 // blittable arguments: nothing to generate; libc is not looked up in a folder
    [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "open", SetLastError = true)]
    private static extern int NativeOpen(byte[] path, int flags, int mode);

    [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static extern int NativeSync(int descriptor);
#pragma warning restore SYSLIB1054, CA5392
}
