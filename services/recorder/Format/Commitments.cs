using System.Security.Cryptography;

namespace Countersign.Recorder.Format;

/// <summary>
/// What the chain and the log's leaves commit to. Commitment = SHA-256(domain, header, salt, payload): it hides a short payload from guessing once the
/// salt is gone. Leaf data = header, commitment: it can be shown when the payload is gone.
/// </summary>
public static class Commitments
{
    /// <summary>Longest leaf data.</summary>
    public const int MaxLeafData = EntryHeader.MaxSize + Hash256.Size;

    /// <summary>The domain that is hashed first.</summary>
    public static ReadOnlySpan<byte> Domain => "countersign/entry/v1\n"u8;

    // Up to here a copy behind the domain and one pass cost half of what a hash object does.
    private const int OnePass = 2048;

    [ThreadStatic]
    private static IncrementalHash? _hash;

    /// <summary>Commitment over header, salt and payload that lie one behind the other.</summary>
    public static Hash256 Of(ReadOnlySpan<byte> headerSaltPayload)
    {
        if (headerSaltPayload.Length <= OnePass)
        {
            Span<byte> prefixed = stackalloc byte[Domain.Length + headerSaltPayload.Length];
            Domain.CopyTo(prefixed);
            headerSaltPayload.CopyTo(prefixed[Domain.Length..]);
            return Hash256.Of(prefixed);
        }

        var hash = _hash ??= IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Domain);
        hash.AppendData(headerSaltPayload);
        Span<byte> value = stackalloc byte[Hash256.Size];
        hash.GetHashAndReset(value);
        return Hash256.From(value);
    }

    /// <summary>The same where <see cref="Domain"/> already lies in front: one pass without a hash object, for the hot path.</summary>
    public static Hash256 OfPrefixed(ReadOnlySpan<byte> domainHeaderSaltPayload) => Hash256.Of(domainHeaderSaltPayload);
}
