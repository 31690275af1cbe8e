using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Countersign.Recorder.Format;

/// <summary>A public key that seals sessions: P-256, by its coordinates.</summary>
/// <param name="Owner"><c>proxy</c> or <c>recorder</c>: sessions of people, or audit events of services.</param>
/// <param name="KeyId">RFC 7638 thumbprint.</param>
/// <param name="X">32 bytes, base64url.</param>
/// <param name="Y">32 bytes, base64url.</param>
public sealed record SealKey(string Owner, string KeyId, string X, string Y)
{
    /// <summary>Owner of the keys that seal sessions.</summary>
    public const string Proxy = "proxy";
    /// <summary>Owner of the key that seals audit events.</summary>
    public const string Recorder = "recorder";

    /// <summary>First characters of the ids of the recorder's own sessions, which hold audit events.</summary>
    public const string EventSessionPrefix = "evt_";

    /// <summary>Who must have sealed a session of this id.</summary>
    public static string OwnerOf(string session)
    {
        ArgumentNullException.ThrowIfNull(session);
        return session.StartsWith(EventSessionPrefix, StringComparison.Ordinal) ? Recorder : Proxy;
    }

    /// <summary>The key, for verifying.</summary>
    /// <exception cref="EntryFormatException">Not a point of the curve, or not the thumbprint's key.</exception>
    public ECDsa ToECDsa()
    {
        try
        {
            var ecdsa = ECDsa.Create(new ECParameters
            {
                Curve = ECCurve.NamedCurves.nistP256,
                Q = new ECPoint { X = Base64Url.DecodeFromChars(X), Y = Base64Url.DecodeFromChars(Y) },
            });
            if (Thumbprint() == KeyId)
            {
                return ecdsa;
            }

            ecdsa.Dispose();
            throw new EntryFormatException("a key's id is not its thumbprint");
        }
        catch (Exception error) when (error is FormatException or CryptographicException)
        {
            throw new EntryFormatException("a key is not a P-256 public key", error);
        }
    }

    // RFC 7638, section 3.2: members in lexicographic order, no blanks.
    private string Thumbprint() =>
        Base64Url.EncodeToString(SHA256.HashData(Encoding.ASCII.GetBytes($$"""{"crv":"P-256","kty":"EC","x":"{{X}}","y":"{{Y}}"}""")));
}

/// <summary>The recorder's signed statement of the keys that seal sessions: a note with one line a key.</summary>
public static class SealKeys
{
    private const string Version = "countersign-seal-keys/v1";

    /// <summary>Signs a statement.</summary>
    public static string Sign(IEnumerable<SealKey> keys, NoteSigner signer)
    {
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(signer);
        var text = new StringBuilder(Version).Append('\n');
        foreach (var key in keys.DistinctBy(key => (key.Owner, key.KeyId)).OrderBy(key => key.Owner, StringComparer.Ordinal).ThenBy(key => key.KeyId, StringComparer.Ordinal))
        {
            text.Append(key.Owner).Append(' ').Append(key.KeyId).Append(' ').Append(key.X).Append(' ').Append(key.Y).Append('\n');
        }

        return signer.Sign(text.ToString());
    }

    /// <summary>Reads a statement.</summary>
    /// <exception cref="EntryFormatException">Not signed by this key, or malformed.</exception>
    public static IReadOnlyList<SealKey> Open(string note, NoteVerifier verifier)
    {
        var lines = SignedNote.Open(note, verifier).TrimEnd('\n').Split('\n');
        if (lines[0] != Version)
        {
            throw new EntryFormatException("the statement of keys has an unknown version");
        }

        return [.. lines.Skip(1).Select(line => line.Split(' ') is [SealKey.Proxy or SealKey.Recorder, var id, var x, var y]
            ? new SealKey(line.Split(' ')[0], id, x, y)
            : throw new EntryFormatException("the statement of keys has a malformed line"))];
    }
}
