using System.Runtime.CompilerServices;
using Countersign.Platform.Ports;

namespace Countersign.Fakes.Workflow;

/// <summary>A store that can be made to fail.</summary>
public sealed class FaultyStore(IStateStore store) : IStateStore
{
    private volatile bool _down;

    /// <summary>Whether it fails.</summary>
    public bool Down
    {
        get => _down;
        set => _down = value;
    }

    /// <inheritdoc/>
    public ValueTask<StateItem?> GetAsync(string collection, string key, CancellationToken cancellation) => Checked().GetAsync(collection, key, cancellation);

    /// <inheritdoc/>
    public ValueTask<bool> TrySaveAsync(string collection, string key, ReadOnlyMemory<byte> value, string? etag, CancellationToken cancellation) =>
        Checked().TrySaveAsync(collection, key, value, etag, cancellation);

    /// <inheritdoc/>
    public ValueTask<bool> TryDeleteAsync(string collection, string key, string etag, CancellationToken cancellation) =>
        Checked().TryDeleteAsync(collection, key, etag, cancellation);

    /// <inheritdoc/>
    public async IAsyncEnumerable<StateItem> ListAsync(string collection, [EnumeratorCancellation] CancellationToken cancellation)
    {
        await foreach (var item in Checked().ListAsync(collection, cancellation))
        {
            yield return item;
        }
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<StateItem>> ReadChangesAsync(string collection, string? after, int limit, CancellationToken cancellation) =>
        Checked().ReadChangesAsync(collection, after, limit, cancellation);

    private IStateStore Checked() => _down ? throw new PortUnavailableException("the store is down") : store;
}
