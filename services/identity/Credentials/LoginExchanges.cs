using Countersign.Identity.Persons;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Credentials;

/// <summary>A SCRAM login under way.</summary>
/// <param name="Id">Login id.</param>
/// <param name="UserName">User name, known or not.</param>
/// <param name="Connection">Connection that it is for.</param>
/// <param name="Address">Client address.</param>
/// <param name="Proxy">Proxy that began it.</param>
/// <param name="Credential">Id of the credential; null for an unknown name.</param>
/// <param name="Nonce">Server's nonce.</param>
/// <param name="ExpiresAt">End.</param>
public sealed record LoginExchange(
    string Id, string UserName, string Connection, string Address, string Proxy, string? Credential, string Nonce, DateTimeOffset ExpiresAt);

/// <summary>Where logins under way are kept between their two messages. Each can be taken once.</summary>
public interface ILoginExchanges
{
    /// <summary>Keeps one.</summary>
    /// <exception cref="IdentityException">Too many.</exception>
    ValueTask AddAsync(LoginExchange exchange, CancellationToken cancellation);

    /// <summary>Takes one out; null where there is none, or none any more.</summary>
    ValueTask<LoginExchange?> TakeAsync(string id, CancellationToken cancellation);

    /// <summary>Forgets those that were given up.</summary>
    ValueTask PruneAsync(CancellationToken cancellation);
}

/// <summary>In the memory of one process: nothing to write, and a restart ends them.</summary>
public sealed class OwnLoginExchanges(TimeProvider time) : ILoginExchanges
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, LinkedListNode<LoginExchange>> _pending = new(StringComparer.Ordinal);
    private readonly LinkedList<LoginExchange> _byAge = new();
    private readonly Dictionary<string, int> _perAddress = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public ValueTask AddAsync(LoginExchange exchange, CancellationToken cancellation)
    {
        lock (_gate)
        {
            while (_byAge.First is { } oldest && oldest.Value.ExpiresAt <= time.GetUtcNow())
            {
                Remove(oldest);
            }

            var ofAddress = _perAddress.GetValueOrDefault(exchange.Address);
            if (_pending.Count >= NativeLogins.Capacity || ofAddress >= NativeLogins.CapacityPerAddress)
            {
                throw new IdentityException(429, "too-many-logins", "Too many logins are under way; try again.");
            }

            _perAddress[exchange.Address] = ofAddress + 1;
            _pending[exchange.Id] = _byAge.AddLast(exchange);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask<LoginExchange?> TakeAsync(string id, CancellationToken cancellation)
    {
        lock (_gate)
        {
            if (!_pending.TryGetValue(id, out var node))
            {
                return ValueTask.FromResult<LoginExchange?>(null);
            }

            Remove(node);
            return ValueTask.FromResult(node.Value.ExpiresAt > time.GetUtcNow() ? node.Value : null);
        }
    }

    /// <inheritdoc/>
    public ValueTask PruneAsync(CancellationToken cancellation) => ValueTask.CompletedTask;

    private void Remove(LinkedListNode<LoginExchange> node)
    {
        _byAge.Remove(node);
        _pending.Remove(node.Value.Id);
        if (--_perAddress[node.Value.Address] == 0)
        {
            _perAddress.Remove(node.Value.Address);
        }
    }
}

/// <summary>In the store that replicas share: the second message may come to another one. What a replica began itself is counted as in <see cref="OwnLoginExchanges"/>.</summary>
public sealed class SharedLoginExchanges(IStateStore store, TimeProvider time) : ILoginExchanges
{
    private readonly OwnLoginExchanges _own = new(time);
    private readonly Documents<LoginExchange> _stored = new(store, "native-logins");

    /// <inheritdoc/>
    public async ValueTask AddAsync(LoginExchange exchange, CancellationToken cancellation)
    {
        await _own.AddAsync(exchange, cancellation);
        await _stored.TryAddAsync(exchange.Id, exchange, cancellation);
    }

    /// <inheritdoc/>
    public async ValueTask<LoginExchange?> TakeAsync(string id, CancellationToken cancellation)
    {
        await _own.TakeAsync(id, cancellation);
        return id.Length is > 0 and <= 64 && id.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-')
            && await _stored.TakeAsync(id, cancellation) is { } exchange && exchange.ExpiresAt > time.GetUtcNow() ? exchange : null;
    }

    /// <inheritdoc/>
    public async ValueTask PruneAsync(CancellationToken cancellation)
    {
        await foreach (var (key, exchange) in _stored.ListAsync(cancellation))
        {
            if (exchange.ExpiresAt <= time.GetUtcNow())
            {
                await _stored.DeleteAsync(key, cancellation);
            }
        }
    }
}

/// <summary>The secret behind the salts of unknown user names: kept, so that a salt never changes and gives an unknown name away.</summary>
/// <param name="make">Gets or makes it; at least 32 bytes.</param>
public sealed class MockSecret(Func<CancellationToken, ValueTask<byte[]>> make)
{
    private byte[]? _secret;

    /// <summary>The one that replicas share in their store: the first makes it.</summary>
    public static MockSecret Shared(IStateStore store) => new(cancellation => SharedSecrets.GetAsync(store, "native-login-mock", cancellation));

    /// <summary>The secret.</summary>
    public async ValueTask<byte[]> GetAsync(CancellationToken cancellation)
    {
        if (Volatile.Read(ref _secret) is { } known)
        {
            return known;
        }

        var made = await make(cancellation);
        ArgumentOutOfRangeException.ThrowIfLessThan(made.Length, 32);
        Volatile.Write(ref _secret, made);
        return made;
    }
}
