using Countersign.Proxy.Path.Record;

namespace Countersign.Recorder.Tests;

/// <summary>
/// A disk in memory that can crash: what was written since the last sync survives sector by sector, or not, at random. Names are durable at once, as the real
/// storage syncs its folder. It can also run full, fail a write half-way, or fail a sync.
/// </summary>
internal sealed class FaultyStorage : ISpoolStorage
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Disk> _files = new(StringComparer.Ordinal);

    /// <summary>Bytes of all files together; a creation or a growth beyond fails with ENOSPC.</summary>
    public long Capacity { get; set; } = long.MaxValue;

    /// <summary>The write with this number (from now) stops half-way and throws.</summary>
    public int FailWriteAfter { get; set; } = int.MaxValue;

    /// <summary>The sync with this number (from now) throws.</summary>
    public int FailSyncAfter { get; set; } = int.MaxValue;

    /// <summary>No write or sync ends until this is released.</summary>
    public ManualResetEventSlim Running { get; } = new(true);

    public int Syncs { get; private set; }

    public IReadOnlyList<string> List()
    {
        lock (_gate)
        {
            return [.. _files.Keys];
        }
    }

    public ISpoolFile Create(string name, long size)
    {
        lock (_gate)
        {
            if (_files.Values.Sum(file => (long)file.Current.Length) + size > Capacity)
            {
                throw new IOException("No space left on device");
            }

            var disk = new Disk { Current = new byte[size], Durable = new byte[size] };
            _files.Add(name, disk);
            return new FaultyFile(this, disk);
        }
    }

    public ISpoolFile Open(string name)
    {
        lock (_gate)
        {
            return new FaultyFile(this, _files[name]);
        }
    }

    public void Rename(string from, string to)
    {
        lock (_gate)
        {
            _files.Add(to, _files[from]);
            _files.Remove(from);
        }
    }

    public void Delete(string name)
    {
        lock (_gate)
        {
            _files.Remove(name);
        }
    }

    /// <summary>What is found after the power was cut.</summary>
    public FaultyStorage Crash(Random random)
    {
        lock (_gate)
        {
            var after = new FaultyStorage();
            foreach (var (name, disk) in _files)
            {
                var bytes = disk.Durable.ToArray();
                Array.Resize(ref bytes, disk.Current.Length);
                foreach (var sector in disk.Dirty)
                {
                    if (random.Next(2) == 0)
                    {
                        var length = Math.Min(512, bytes.Length - (int)(sector * 512));
                        disk.Current.AsSpan((int)(sector * 512), length).CopyTo(bytes.AsSpan((int)(sector * 512)));
                    }
                }

                after._files.Add(name, new Disk { Current = bytes.ToArray(), Durable = bytes });
            }

            return after;
        }
    }

    /// <summary>Changes a byte, as a failing disk or an attacker would.</summary>
    public void Flip(string name, long offset)
    {
        lock (_gate)
        {
            _files[name].Current[offset] ^= 0x40;
            _files[name].Durable[offset] ^= 0x40;
        }
    }

    public byte[] Content(string name)
    {
        lock (_gate)
        {
            return [.. _files[name].Current];
        }
    }

    private sealed class Disk
    {
        public required byte[] Current { get; set; }

        public required byte[] Durable { get; set; }

        public HashSet<long> Dirty { get; } = [];
    }

    private sealed class FaultyFile(FaultyStorage storage, Disk disk) : ISpoolFile
    {
        public long Length => disk.Current.Length;

        public int Read(Span<byte> buffer, long offset)
        {
            lock (storage._gate)
            {
                var length = (int)Math.Clamp(disk.Current.Length - offset, 0, buffer.Length);
                disk.Current.AsSpan((int)Math.Min(offset, disk.Current.Length), length).CopyTo(buffer);
                return length;
            }
        }

        public void Write(ReadOnlySpan<byte> data, long offset)
        {
            storage.Running.Wait();
            lock (storage._gate)
            {
                var fails = storage.FailWriteAfter-- <= 0;
                var written = fails ? data.Length / 2 : data.Length;
                data[..written].CopyTo(disk.Current.AsSpan((int)offset));
                for (var at = offset; at < offset + written; at += 512)
                {
                    disk.Dirty.Add(at / 512);
                }

                if (fails)
                {
                    throw new IOException("No space left on device");
                }
            }
        }

        public void Sync()
        {
            storage.Running.Wait();
            lock (storage._gate)
            {
                if (storage.FailSyncAfter-- <= 0)
                {
                    throw new IOException("Input/output error");
                }

                storage.Syncs++;
                foreach (var sector in disk.Dirty)
                {
                    var length = Math.Min(512, disk.Current.Length - (int)(sector * 512));
                    disk.Current.AsSpan((int)(sector * 512), length).CopyTo(disk.Durable.AsSpan((int)(sector * 512)));
                }

                disk.Dirty.Clear();
            }
        }

        public void Truncate(long length)
        {
            lock (storage._gate)
            {
                disk.Current = disk.Current[..(int)length];
                disk.Durable = disk.Durable[..(int)length];
                disk.Dirty.RemoveWhere(sector => sector * 512 >= length);
            }
        }

        public void Dispose()
        {
        }
    }
}
