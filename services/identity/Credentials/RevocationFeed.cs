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

    /// <summary>Most revocations in one answer.</summary>
    public const int PageSize = 1000;

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly Documents<Revocation> _stored = new(store, "revocations");
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly List<Revocation> _feed = [];

    /// <summary>Sequence of the latest revocation, 0 for none.</summary>
    public long Head
    {
        get
        {
            lock (_feed)
            {
                return _feed.Count;
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

    /// <summary>The next revocations after a sequence, in order, at most <see cref="PageSize"/>.</summary>
    public IReadOnlyList<Revocation> After(long sequence)
    {
        lock (_feed)
        {
            return [.. _feed.Skip((int)Math.Clamp(sequence, 0, _feed.Count)).Take(PageSize)];
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _gate.Dispose();

    private async ValueTask ReadNewAsync(CancellationToken cancellation)
    {
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
