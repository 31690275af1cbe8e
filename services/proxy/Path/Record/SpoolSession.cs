using Countersign.Recorder.Format;

namespace Countersign.Proxy.Path.Record;

/// <summary>Where a session stands on disk: what a recovery would find. Changed by the sync thread only, after each sync.</summary>
internal sealed class SpoolSession(uint slot, string id, byte[] wrappedKey)
{
    public uint Slot => slot;

    public string Id => id;

    public byte[] WrappedKey => wrappedKey;

    public long Sequence { get; set; }

    public Hash256 Commitment { get; set; }

    public bool Ended { get; set; }

    /// <summary>Whether nothing more will come: ended, and the end is sealed.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>Operations that were let through and have not ended.</summary>
    public HashSet<long> OpenOperations { get; } = [];

    /// <summary>Highest operation number seen.</summary>
    public long Operations { get; set; }

    public void Apply(long sequence, in Hash256 commitment, SpoolEffect effect, long operation)
    {
        Sequence = sequence;
        Commitment = commitment;
        Operations = Math.Max(Operations, operation);
        switch (effect)
        {
            case SpoolEffect.OpensOperation:
                OpenOperations.Add(operation);
                break;
            case SpoolEffect.ClosesOperation:
                OpenOperations.Remove(operation);
                break;
            case SpoolEffect.EndsSession:
                Ended = true;
                break;
            case SpoolEffect.ClosesSession:
                IsComplete = true;
                break;
        }
    }
}

/// <summary>A change that becomes true with the sync of its batch.</summary>
internal readonly record struct SpoolChange(SpoolSession Session, long Sequence, Hash256 Commitment, SpoolEffect Effect, long Operation);
