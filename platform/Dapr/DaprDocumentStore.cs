using System.Text;
using Countersign.Platform.Ports;
using Dapr.Client;
using Grpc.Core;

namespace Countersign.Platform.Dapr;

/// <summary>Documents in the sidecar's state store. It can't be listed, and so isn't an <see cref="IStateStore"/>.</summary>
internal sealed class DaprDocumentStore(DaprClient dapr, DaprOptions options) : IDocumentStore
{
    private static readonly StateOptions FirstWrite = new() { Concurrency = ConcurrencyMode.FirstWrite, Consistency = ConsistencyMode.Strong };

    public ValueTask<StateItem?> GetAsync(string collection, string key, CancellationToken cancellation) => GuardAsync(async limit =>
    {
        // Bytes as they are: what was written with TrySaveByteStateAsync.
        var (value, etag) = await dapr.GetByteStateAndETagAsync(options.StateStore, Key(collection, key), ConsistencyMode.Strong, null, limit).ConfigureAwait(false);
        return value.IsEmpty || string.IsNullOrEmpty(etag) ? null : new StateItem(key, value, etag);
    }, cancellation);

    public async ValueTask<bool> TrySaveAsync(string collection, string key, ReadOnlyMemory<byte> value, string? etag, CancellationToken cancellation)
    {
        var name = Key(collection, key);
        try
        {
            return await GuardAsync(limit => etag is null
                ? InsertAsync(name, value, limit)
                : dapr.TrySaveByteStateAsync(options.StateStore, name, value, etag, FirstWrite, null, limit), cancellation).ConfigureAwait(false);
        }
        catch (PortUnavailableException) when (etag is null && !cancellation.IsCancellationRequested)
        {
            // The trap of PostgreSQL v2: a first write of a key that exists is a general error and not "aborted".
            if (await GetAsync(collection, key, cancellation).ConfigureAwait(false) is { } found && !found.Value.Span.SequenceEqual(value.Span))
            {
                return false;
            }

            throw;
        }
    }

    public async ValueTask<bool> TryDeleteAsync(string collection, string key, string etag, CancellationToken cancellation) =>
        await GuardAsync(limit => dapr.TryDeleteStateAsync(options.StateStore, Key(collection, key), etag, FirstWrite, null, limit), cancellation).ConfigureAwait(false);

    private async Task<bool> InsertAsync(string name, ReadOnlyMemory<byte> value, CancellationToken limit)
    {
        // An empty etag is none: with first-write it means that the key must not exist.
        await dapr.SaveByteStateAsync(options.StateStore, name, value, FirstWrite, null, limit).ConfigureAwait(false);
        return true;
    }

    private async ValueTask<T> GuardAsync<T>(Func<CancellationToken, Task<T>> call, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(options.TimeoutSeconds));
        try
        {
            return await call(limit.Token).ConfigureAwait(false);
        }
        catch (Exception error) when (error is global::Dapr.DaprException or RpcException or HttpRequestException
            || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new PortUnavailableException("the state store can't be reached", error);
        }
    }

    private static string Key(string collection, string key)
    {
        // The sidecar puts its app id in front, separated like this.
        if (key.Length == 0 || Encoding.UTF8.GetByteCount(key) > 512 || key.Contains("||", StringComparison.Ordinal))
        {
            throw new ArgumentException("A key is 1 to 512 bytes without ||.", nameof(key));
        }

        return $"{collection}/{key}";
    }
}
