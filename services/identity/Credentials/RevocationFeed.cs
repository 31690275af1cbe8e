using System.Globalization;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Credentials;

/// <summary>
/// What may no longer be used, numbered from 1 without gaps. Its head is in the beacon, so that a proxy that missed an event knows that it did (I8).
/// </summary>
public sealed class RevocationFeed(IStateStore store, IEventBus bus, TimeProvider time) : IDisposable
{
    /// <summary>Type of the event.</summary>
    public const string EventType = "countersign.revocation";

    /// <summary>
    /// How long a revocation is told. Longer than any session or credential lives (12 hours): what is older concerns nothing that could still be open.
    /// </summary>
    public static readonly TimeSpan Kept = TimeSpan.FromHours(25);

    /// <summary>Most revocations in one answer.</summary>
    public const int PageSize = 1000;

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly Documents<Revocation> _stored = new(store, "revocations");
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly List<Revocation> _feed = [];

    // Sequence before the first one in the feed, and whether the store has been listed.
    private long _base;
    private DateTimeOffset _compactedAt;
    private bool _listed;

    /// <summary>Sequence of the latest revocation, 0 for none.</summary>
    public long Head
    {
        get
        {
            lock (_feed)
            {
                return _base + _feed.Count;
            }
        }
    }

    /// <summary>Reads what is stored, also by other instances of the service.</summary>
    public async ValueTask CatchUpAsync(CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation);
        try
        {
            await ReadNewAsync(cancellation);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Revokes one thing, durable before it returns.</summary>
    /// <param name="kind"><c>credential</c>, <c>person</c> or <c>session</c>.</param>
    /// <param name="id">Its id.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    public async ValueTask<Revocation> AddAsync(string kind, string id, CancellationToken cancellation)
    {
        Revocation revocation;
        await _gate.WaitAsync(cancellation);
        try
        {
            do
            {
                await ReadNewAsync(cancellation);
                revocation = new Revocation(Head + 1, kind, id, time.GetUtcNow());
            }
            while (!await _stored.TryAddAsync(Key(revocation.Sequence), revocation, cancellation));

            Append(revocation);
        }
        finally
        {
            _gate.Release();
        }

        try
        {
            await bus.PublishAsync(
                Topics.Identity, $"revocation:{revocation.Sequence}", EventType, JsonSerializer.SerializeToUtf8Bytes(revocation, Json), cancellation);
        }
        catch (PortUnavailableException)
        {
            // The next beacon carries the new head, and the proxies fetch what they lack.
        }

        return revocation;
    }

    /// <summary>The next revocations after a sequence, in order, at most <see cref="PageSize"/>; one of kind compacted first where some are no longer told.</summary>
    public IReadOnlyList<Revocation> After(long sequence)
    {
        lock (_feed)
        {
            var next = _feed.Skip((int)Math.Clamp(sequence - _base, 0, _feed.Count)).Take(PageSize);
            return sequence < _base && sequence >= 0 ? [new Revocation(_base, Revocation.Compacted, "", _compactedAt), .. next] : [.. next];
        }
    }

    /// <summary>Forgets what is older than anything that it could concern. The latest one stays, so that the sequence goes on from it.</summary>
    public async ValueTask CompactAsync(CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation);
        try
        {
            await ReadNewAsync(cancellation);
            var before = time.GetUtcNow() - Kept;
            while (Oldest(before) is { } old)
            {
                // Oldest first: whatever is left after a crash is still without gaps.
                await _stored.DeleteAsync(Key(old.Sequence), cancellation);
                lock (_feed)
                {
                    _feed.RemoveAt(0);
                    (_base, _compactedAt) = (old.Sequence, old.At);
                }
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _gate.Dispose();

    private Revocation? Oldest(DateTimeOffset before)
    {
        lock (_feed)
        {
            return _feed.Count > 1 && _feed[0].At < before ? _feed[0] : null;
        }
    }

    private async ValueTask ReadNewAsync(CancellationToken cancellation)
    {
        if (!_listed)
        {
            // The first one isn't number 1 where older ones were forgotten.
            await foreach (var (_, first) in _stored.ListAsync(cancellation))
            {
                lock (_feed)
                {
                    (_base, _compactedAt) = (first.Sequence - 1, first.At);
                }

                break;
            }

            _listed = true;
        }

        while (await _stored.FindAsync(Key(Head + 1), cancellation) is { } next)
        {
            Append(next);
        }
    }

    private void Append(Revocation revocation)
    {
        lock (_feed)
        {
            _feed.Add(revocation);
        }
    }

    private static string Key(long sequence) => sequence.ToString("D19", CultureInfo.InvariantCulture);
}
