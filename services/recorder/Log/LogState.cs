using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>
/// What the log knows beside its entries: the heads of the sessions and the ids of audit events. A snapshot of it, at some size, bounds what a start must
/// read again; without one everything is read again.
/// </summary>
internal sealed class LogState
{
    private const string Magic = "CSLOGST1";
    private readonly LogOptions _options;
    private readonly HashSet<UInt128> _eventIds = [];
    private readonly Queue<UInt128> _eventOrder = new();

    public LogState(LogOptions options)
    {
        _options = options;
        Heads = new SessionHeads(options.MaxUnsealed);
    }

    public SessionHeads Heads { get; }

    /// <summary>Size of the log that this is the state of.</summary>
    public long Size { get; private set; }

    /// <summary>Root at that size.</summary>
    public Hash256 Root { get; private set; } = Merkle.EmptyRoot;

    /// <summary>Whether an audit event of this id was taken already.</summary>
    public bool KnowsEvent(ReadOnlySpan<byte> id) => _eventIds.Contains(System.Buffers.Binary.BinaryPrimitives.ReadUInt128BigEndian(id));

    public void RememberEvent(ReadOnlySpan<byte> id)
    {
        var key = System.Buffers.Binary.BinaryPrimitives.ReadUInt128BigEndian(id);
        if (!_eventIds.Add(key))
        {
            return;
        }

        _eventOrder.Enqueue(key);
        if (_eventOrder.Count > _options.MaxEventIds)
        {
            _eventIds.Remove(_eventOrder.Dequeue());
        }
    }

    /// <summary>Takes an entry that is read again at start.</summary>
    public void Replay(Entry entry)
    {
        Heads.Replay(entry);
        if (entry.Type == EntryType.Event)
        {
            RememberEvent(entry.Id);
        }
    }

    /// <summary>Reads a snapshot; an empty state where there is none, or none that is whole.</summary>
    public static LogState Read(byte[]? bytes, LogOptions options)
    {
        var state = new LogState(options);
        if (bytes is null || bytes.Length < 12 || System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes) != Crc32C.Compute(bytes.AsSpan(4)))
        {
            return state;
        }

        using var reader = new BinaryReader(new MemoryStream(bytes, 4, bytes.Length - 4));
        if (reader.ReadString() != Magic)
        {
            return state;
        }

        state.Size = reader.ReadInt64();
        state.Root = Hash256.From(reader.ReadBytes(Hash256.Size));
        state.Heads.Read(reader);
        for (var count = reader.ReadInt32(); count > 0; count--)
        {
            var high = reader.ReadUInt64();
            var key = new UInt128(high, reader.ReadUInt64());
            state._eventIds.Add(key);
            state._eventOrder.Enqueue(key);
        }

        return state;
    }

    /// <summary>Makes a snapshot. All tiles of that size must be durable before it is.</summary>
    public byte[] ToBytes(long size, in Hash256 root)
    {
        using var stream = new MemoryStream();
        stream.Write(new byte[4]);
        using (var writer = new BinaryWriter(stream, System.Text.Encoding.UTF8, leaveOpen: true))
        {
            writer.Write(Magic);
            writer.Write(size);
            writer.Write(root.ToArray());
            Heads.Write(writer);
            writer.Write(_eventOrder.Count);
            foreach (var key in _eventOrder)
            {
                writer.Write((ulong)(key >> 64));
                writer.Write((ulong)key);
            }
        }

        var bytes = stream.ToArray();
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(bytes, Crc32C.Compute(bytes.AsSpan(4)));
        return bytes;
    }
}
