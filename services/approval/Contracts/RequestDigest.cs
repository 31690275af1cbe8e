using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Countersign.Approval.Contracts;

/// <summary>The digest of a request: what an approver is shown and sends back. Frozen in docs/formats/approval-request.md.</summary>
public static class RequestDigest
{
    private static readonly byte[] Domain = "countersign request digest v1\n"u8.ToArray();

    /// <summary>SHA-256 over the domain, the number of operations (4 bytes, big endian) and their digests (32 bytes each), in order.</summary>
    /// <param name="digests">Operation digests, 64 hexadecimal digits each.</param>
    /// <returns>64 lower-case hexadecimal digits.</returns>
    /// <exception cref="FormatException">A digest is not 64 hexadecimal digits.</exception>
    public static string Compute(IReadOnlyList<string> digests)
    {
        ArgumentNullException.ThrowIfNull(digests);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Domain);
        Span<byte> count = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(count, digests.Count);
        hash.AppendData(count);
        foreach (var digest in digests)
        {
            hash.AppendData(digest is { Length: 64 } ? Convert.FromHexString(digest) : throw new FormatException("An operation digest has 64 hexadecimal digits."));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
