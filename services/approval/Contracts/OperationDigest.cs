using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Countersign.Approval.Contracts;

/// <summary>Everything an approval is bound to: change any of it and another approval is needed.</summary>
/// <remarks>The encoding is frozen in docs/formats/operation-digest.md.</remarks>
public sealed record OperationIdentity
{
    /// <summary>Protocol of the operation, e.g. <c>postgres</c>.</summary>
    public required string Protocol { get; init; }
    /// <summary>The text from its first to its last token; nothing else is normalised.</summary>
    public required string Text { get; init; }
    /// <summary>Parameters of a Bind in order; empty for a simple query.</summary>
    public IReadOnlyList<OperationParameter> Parameters { get; init; } = [];
    /// <summary>Name of the connection.</summary>
    public required string Connection { get; init; }
    /// <summary>Database at the target.</summary>
    public required string Database { get; init; }
    /// <summary>Role the session logged in with at the target.</summary>
    public required string DatabaseRole { get; init; }
    /// <summary>Person id of the one who executes it.</summary>
    public required string Person { get; init; }
    /// <summary>Settings that change what the text means, by name. Encoded in ordinal order of the names.</summary>
    public IReadOnlyDictionary<string, string> Context { get; init; } = new Dictionary<string, string>();
}

/// <summary>A parameter as it is bound.</summary>
/// <param name="Type">Type OID, 0 where unspecified.</param>
/// <param name="Format">0 text, 1 binary.</param>
/// <param name="Value">The bytes as sent; null for NULL.</param>
public sealed record OperationParameter(uint Type, short Format, ReadOnlyMemory<byte>? Value);

/// <summary>Names of the context entries of a PostgreSQL operation.</summary>
public static class PostgresContext
{
    /// <summary>search_path as the server reports it.</summary>
    public const string SearchPath = "search_path";
    /// <summary>current_user.</summary>
    public const string Role = "role";
    /// <summary>standard_conforming_strings.</summary>
    public const string StandardConformingStrings = "standard_conforming_strings";
    /// <summary>DateStyle.</summary>
    public const string DateStyle = "DateStyle";
    /// <summary>TimeZone.</summary>
    public const string TimeZone = "TimeZone";
    /// <summary><c>none</c>, or isolation level and access mode of the open transaction, e.g. <c>read committed, read write</c>.</summary>
    public const string Transaction = "transaction";
    /// <summary><c>true</c> where the session has temporary relations, which shadow others.</summary>
    public const string TemporaryRelations = "temporary_relations";
    /// <summary>session_replication_role, only where it isn't <c>origin</c>: triggers and foreign keys don't fire.</summary>
    public const string SessionReplicationRole = "session_replication_role";
    /// <summary>transform_null_equals, only where it isn't <c>off</c>: <c>= NULL</c> means IS NULL.</summary>
    public const string TransformNullEquals = "transform_null_equals";
    /// <summary>row_security, only where it isn't <c>on</c>.</summary>
    public const string RowSecurity = "row_security";
    /// <summary>IntervalStyle, only where it isn't <c>postgres</c>: signs of interval constants.</summary>
    public const string IntervalStyle = "IntervalStyle";
}

/// <summary>Computes operation digests: SHA-256 over the canonical encoding, version 1.</summary>
public static class OperationDigest
{
    private static readonly byte[] Domain = "countersign operation digest v1\n"u8.ToArray();

    /// <summary>The digest of one operation.</summary>
    /// <returns>64 lower-case hexadecimal digits.</returns>
    public static string Compute(OperationIdentity operation)
    {
        ArgumentNullException.ThrowIfNull(operation);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Domain);
        Append(hash, operation.Protocol);
        Append(hash, operation.Text);
        AppendCount(hash, operation.Parameters.Count);
        Span<byte> fixedPart = stackalloc byte[7];
        foreach (var parameter in operation.Parameters)
        {
            BinaryPrimitives.WriteUInt32BigEndian(fixedPart, parameter.Type);
            BinaryPrimitives.WriteInt16BigEndian(fixedPart[4..], parameter.Format);
            fixedPart[6] = parameter.Value is null ? (byte)0 : (byte)1;
            hash.AppendData(fixedPart);
            if (parameter.Value is { } value)
            {
                AppendCount(hash, value.Length);
                hash.AppendData(value.Span);
            }
        }

        Append(hash, operation.Connection);
        Append(hash, operation.Database);
        Append(hash, operation.DatabaseRole);
        Append(hash, operation.Person);
        AppendCount(hash, operation.Context.Count);
        foreach (var (name, value) in operation.Context.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            Append(hash, name);
            Append(hash, value);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static void Append(IncrementalHash hash, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        AppendCount(hash, bytes.Length);
        hash.AppendData(bytes);
    }

    private static void AppendCount(IncrementalHash hash, int count)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(bytes, count);
        hash.AppendData(bytes);
    }
}
