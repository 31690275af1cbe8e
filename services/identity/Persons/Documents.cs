using System.Runtime.CompilerServices;
using System.Text.Json;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Persons;

/// <summary>One collection of the state store as typed documents. Every change is made against the version that was read.</summary>
/// <typeparam name="T">Document; serialised as camelCase JSON, so that members can be added but not renamed.</typeparam>
public sealed class Documents<T>(IStateStore store, string collection)
    where T : class
{
    private const int Attempts = 100;
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    /// <summary>Reads one.</summary>
    public async ValueTask<T?> FindAsync(string key, CancellationToken cancellation)
        => await store.GetAsync(collection, key, cancellation) is { } item ? Read(item) : null;

    /// <summary>Adds one; false where the key exists.</summary>
    public ValueTask<bool> TryAddAsync(string key, T document, CancellationToken cancellation)
        => store.TrySaveAsync(collection, key, JsonSerializer.SerializeToUtf8Bytes(document, Json), etag: null, cancellation);

    /// <summary>Changes one; the function may run several times when others write too.</summary>
    /// <param name="key">Key.</param>
    /// <param name="change">Gets the document, null where there is none; returns what to store, or null to leave everything as it is.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <returns>What was stored, or null if nothing was.</returns>
    /// <exception cref="PortUnavailableException">Others write all the time.</exception>
    public async ValueTask<T?> ChangeAsync(string key, Func<T?, T?> change, CancellationToken cancellation)
    {
        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            var item = await store.GetAsync(collection, key, cancellation);
            if (change(item is null ? null : Read(item)) is not { } next)
            {
                return null;
            }

            if (await store.TrySaveAsync(collection, key, JsonSerializer.SerializeToUtf8Bytes(next, Json), item?.ETag, cancellation))
            {
                return next;
            }
        }

        throw new PortUnavailableException($"{collection} changes too often");
    }

    /// <summary>Takes one out: of several that want it, one gets it.</summary>
    public async ValueTask<T?> TakeAsync(string key, CancellationToken cancellation)
        => await store.GetAsync(collection, key, cancellation) is { } item && await store.TryDeleteAsync(collection, key, item.ETag, cancellation) ? Read(item) : null;

    /// <summary>Deletes one, whatever it holds.</summary>
    public async ValueTask DeleteAsync(string key, CancellationToken cancellation)
    {
        while (await store.GetAsync(collection, key, cancellation) is { } item && !await store.TryDeleteAsync(collection, key, item.ETag, cancellation))
        {
        }
    }

    /// <summary>All of them with their keys, in ordinal order.</summary>
    public async IAsyncEnumerable<(string Key, T Document)> ListAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        await foreach (var item in store.ListAsync(collection, cancellation))
        {
            yield return (item.Key, Read(item));
        }
    }

    private T Read(StateItem item)
        => JsonSerializer.Deserialize<T>(item.Value.Span, Json) ?? throw new InvalidDataException($"{collection}/{item.Key} is empty");
}
