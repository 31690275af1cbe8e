using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Recorder.Format;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Recorder.Host;

/// <summary>
/// The keys that may seal sessions: those of the proxies that are enrolled now, and the recorder's own. Every key that ever sealed something is remembered in a
/// file, so that old recordings verify after a rotation.
/// </summary>
internal sealed class SealKeyRing : IDisposable
{
    private readonly ITrustedKeys _trusted;
    private readonly string _path;
    private readonly Lock _gate = new();
    private readonly Dictionary<(string Owner, string KeyId), SealKey> _seen = [];
    private readonly Dictionary<string, ECDsa> _verifiers = new(StringComparer.Ordinal);

    public SealKeyRing(ITrustedKeys trusted, SigningKey own, string path)
    {
        (_trusted, _path) = (trusted, path);
        if (File.Exists(path))
        {
            foreach (var key in JsonSerializer.Deserialize<List<SealKey>>(File.ReadAllBytes(path), JsonSerializerOptions.Web) ?? [])
            {
                _seen[(key.Owner, key.KeyId)] = key;
            }
        }

        Remember(Of(SealKey.Recorder, own.PublicKey));
    }

    /// <summary>A check of seals by the keys that are enrolled now.</summary>
    public async ValueTask<Func<string, Seal, bool>> CheckAsync(CancellationToken cancellation)
    {
        var enrolled = await _trusted.GetAsync(AppIds.Proxy, cancellation);
        return (session, seal) =>
        {
            var jwk = enrolled.Keys.FirstOrDefault(key => key.KeyId == seal.KeyId);
            return jwk is not null && SealKey.OwnerOf(session) == SealKey.Proxy && Verify(session, seal, Of(SealKey.Proxy, jwk));
        };
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

        lock (_gate)
        {
            return SealKeys.Sign([.. _seen.Values, .. enrolled], signer);
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var key in _verifiers.Values)
            {
                key.Dispose();
            }
        }
    }

    private static SealKey Of(string owner, JsonWebKey key) => new(owner, key.KeyId, key.X, key.Y);

    private bool Verify(string session, Seal seal, SealKey key)
    {
        lock (_gate)
        {
            if (!_verifiers.TryGetValue(key.KeyId, out var verifier))
            {
                _verifiers.Add(key.KeyId, verifier = key.ToECDsa());
            }

            if (!seal.Verify(session, verifier))
            {
                return false;
            }

            if (!_seen.ContainsKey((key.Owner, key.KeyId)))
            {
                Remember(key);
            }

            return true;
        }
    }

    private void Remember(SealKey key)
    {
        if (!_seen.TryAdd((key.Owner, key.KeyId), key))
        {
            return;
        }

        Directory.CreateDirectory(Path.GetDirectoryName(_path)!);
        File.WriteAllBytes(_path + ".tmp", JsonSerializer.SerializeToUtf8Bytes(_seen.Values.ToList(), JsonSerializerOptions.Web));
        File.Move(_path + ".tmp", _path, overwrite: true);
    }
}

/// <summary>The recorder's own key as a signer of seals.</summary>
internal sealed class SigningKeySealer(SigningKey key) : ISealSigner
{
    public string KeyId => key.KeyId;

    public byte[] Sign(ReadOnlySpan<byte> data) => key.SignData(data);
}
