using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Countersign.Approval.Contracts;

/// <summary>The digest of an access window: whose it is, where, how long and for what (docs/formats/approval-request.md). Frozen.</summary>
public static class AccessWindowDigest
{
    private static readonly byte[] Prefix = "countersign window digest v1\n"u8.ToArray();

    /// <summary>Lower-case hex of SHA-256.</summary>
    /// <param name="person">Person id of who will use it.</param>
    /// <param name="connection">Connection.</param>
    /// <param name="database">Database at the target.</param>
    /// <param name="window">Length and scope; the order of statements and relations makes no difference.</param>
    public static string Compute(string person, string connection, string database, AccessWindow window)
    {
        ArgumentNullException.ThrowIfNull(window);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Prefix);
        Append(hash, person);
        Append(hash, connection);
        Append(hash, database);
        Append(hash, window.Seconds);
        Append(hash, window.Statements);
        Append(hash, window.Relations);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static void Append(IncrementalHash hash, IReadOnlyList<string> names)
    {
        string[] distinct = [.. names.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
        Append(hash, distinct.Length);
        foreach (var name in distinct)
        {
            Append(hash, name);
        }
    }

    private static void Append(IncrementalHash hash, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        Append(hash, bytes.Length);
        hash.AppendData(bytes);
    }

    private static void Append(IncrementalHash hash, int number)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(bytes, number);
        hash.AppendData(bytes);
    }
}
