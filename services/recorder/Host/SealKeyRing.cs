using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Recorder.Format;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Recorder.Host;

/// <summary>Where keys that ever sealed something are remembered.</summary>
internal interface ISealKeyMemory
{
    /// <summary>All of them.</summary>
    ValueTask<IReadOnlyList<SealKey>> LoadAsync(CancellationToken cancellation);

    /// <summary>Adds one; durable when it returns. One that is there already changes nothing.</summary>
    ValueTask AddAsync(SealKey key, CancellationToken cancellation);
}

/// <summary>In a file of one process.</summary>
internal sealed class SealKeyFile(string path) : ISealKeyMemory
{
    public ValueTask<IReadOnlyList<SealKey>> LoadAsync(CancellationToken cancellation) => ValueTask.FromResult<IReadOnlyList<SealKey>>(
        File.Exists(path) ? JsonSerializer.Deserialize<List<SealKey>>(File.ReadAllBytes(path), JsonSerializerOptions.Web) ?? [] : []);

    public async ValueTask AddAsync(SealKey key, CancellationToken cancellation)
    {
        var known = await LoadAsync(cancellation);
        if (known.Any(other => (other.Owner, other.KeyId) == (key.Owner, key.KeyId)))
        {
            return;
        }

        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        await File.WriteAllBytesAsync(path + ".tmp", JsonSerializer.SerializeToUtf8Bytes<List<SealKey>>([.. known, key], JsonSerializerOptions.Web), cancellation);
        File.Move(path + ".tmp", path, overwrite: true);
    }
}

/// <summary>In the recorder's state, which replicas share.</summary>
internal sealed class SealKeyState(IStateStore store) : ISealKeyMemory
{
    private const string Collection = "seal-keys";

    public async ValueTask<IReadOnlyList<SealKey>> LoadAsync(CancellationToken cancellation)
    {
        var keys = new List<SealKey>();
        await foreach (var item in store.ListAsync(Collection, cancellation))
        {
            keys.Add(JsonSerializer.Deserialize<SealKey>(item.Value.Span, JsonSerializerOptions.Web)!);
        }

        return keys;
    }

    public async ValueTask AddAsync(SealKey key, CancellationToken cancellation) =>
        await store.TrySaveAsync(Collection, $"{key.Owner}:{key.KeyId}", JsonSerializer.SerializeToUtf8Bytes(key, JsonSerializerOptions.Web), null, cancellation);
}

/// <summary>
/// The keys that may seal sessions: those of the proxies that are enrolled now, and the recorder's own. Every key that ever sealed something is remembered, so that
/// old recordings verify after a rotation.
/// </summary>
internal sealed class SealKeyRing : IDisposable
{
    private readonly ITrustedKeys _trusted;
    private readonly ISealKeyMemory _memory;
    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _saving = new(1, 1);
    private readonly HashSet<(string Owner, string KeyId)> _saved = [];
    private readonly Dictionary<(string Owner, string KeyId), SealKey> _seen = [];
    private readonly ConcurrentDictionary<string, Verifier> _verifiers = new(StringComparer.Ordinal);
    private Enrolment _enrolment = new(null, FrozenDictionary<string, JsonWebKey>.Empty);

    public SealKeyRing(ITrustedKeys trusted, SigningKey own, ISealKeyMemory memory)
    {
        (_trusted, _memory) = (trusted, memory);
        var key = Of(SealKey.Recorder, own.PublicKey);
        _seen[(key.Owner, key.KeyId)] = key;
    }

    /// <summary>Remembers the keys that have sealed something since the last time.</summary>
    public async ValueTask SaveAsync(CancellationToken cancellation)
    {
        if (Unsaved().Count == 0)
        {
            return;
        }

        await _saving.WaitAsync(cancellation);
        try
        {
            foreach (var key in Unsaved())
            {
                await _memory.AddAsync(key, cancellation);
                lock (_gate)
                {
                    _saved.Add((key.Owner, key.KeyId));
                }
            }
        }
        finally
        {
            _saving.Release();
        }
    }

    /// <summary>How many keys of proxies were enrolled when a check was last asked for: about as many as there are proxies.</summary>
    public int Enrolled => Volatile.Read(ref _enrolment).ById.Count;

    /// <summary>A check of seals by the keys that are enrolled now.</summary>
    public async ValueTask<Func<string, Seal, bool>> CheckAsync(CancellationToken cancellation)
    {
        var enrolled = await _trusted.GetAsync(AppIds.Proxy, cancellation);
        var known = Volatile.Read(ref _enrolment);
        if (!ReferenceEquals(known.Keys, enrolled))
        {
            known = new Enrolment(enrolled, enrolled.Keys.DistinctBy(key => key.KeyId).ToFrozenDictionary(key => key.KeyId, StringComparer.Ordinal));
            Volatile.Write(ref _enrolment, known);
        }

        return (session, seal) =>
            known.ById.TryGetValue(seal.KeyId, out var jwk) && SealKey.OwnerOf(session) == SealKey.Proxy && Verify(session, seal, Of(SealKey.Proxy, jwk));
    }

    /// <summary>The signed statement for exports.</summary>
    public async ValueTask<string> StateAsync(NoteSigner signer, CancellationToken cancellation)
    {
        IEnumerable<SealKey> enrolled = [];
        try
        {
            enrolled = (await _trusted.GetAsync(AppIds.Proxy, cancellation)).Keys.Select(key => Of(SealKey.Proxy, key));
        }
        catch (TokenRejectedException)
        {
            // No proxy is enrolled: then those that once were.
        }

        var remembered = await _memory.LoadAsync(cancellation);
        lock (_gate)
        {
            return SealKeys.Sign([.. remembered, .. _seen.Values, .. enrolled], signer);
        }
    }

    public void Dispose()
    {
        _saving.Dispose();
        foreach (var verifier in _verifiers.Values)
        {
            verifier.Key.Dispose();
        }
    }

    private static SealKey Of(string owner, JsonWebKey key) => new(owner, key.KeyId, key.X, key.Y);

    private bool Verify(string session, Seal seal, SealKey key)
    {
        var verifier = _verifiers.GetOrAdd(key.KeyId, static (_, made) => new Verifier(made.ToECDsa()), key);

        // A lock a key: the seals of one proxy don't wait for those of all others.
        lock (verifier.Gate)
        {
            if (!seal.Verify(session, verifier.Key))
            {
                return false;
            }
        }

        lock (_gate)
        {
            _seen.TryAdd((key.Owner, key.KeyId), key);
            return true;
        }
    }

    private sealed record Enrolment(VerificationKeys? Keys, FrozenDictionary<string, JsonWebKey> ById);

    private sealed record Verifier(ECDsa Key)
    {
        public Lock Gate { get; } = new();
    }

    private List<SealKey> Unsaved()
    {
        lock (_gate)
        {
            return _seen.Count == _saved.Count ? [] : [.. _seen.Where(pair => !_saved.Contains(pair.Key)).Select(pair => pair.Value)];
        }
    }
}

/// <summary>The recorder's own key as a signer of seals.</summary>
internal sealed class SigningKeySealer(SigningKey key) : ISealSigner
{
    public string KeyId => key.KeyId;

    public byte[] Sign(ReadOnlySpan<byte> data) => key.SignData(data);
}
