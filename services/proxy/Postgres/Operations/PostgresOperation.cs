using System.Diagnostics;
using System.Security.Cryptography;
using Countersign.Proxy.Path;
using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>A prepared statement, by Parse or PREPARE.</summary>
/// <param name="Text">Its text.</param>
/// <param name="Types">Parameter types that the client gave; 0 or missing where the server infers them.</param>
/// <param name="Understood">What the text means.</param>
internal sealed record PreparedText(ReadOnlyMemory<byte> Text, uint[] Types, UnderstoodText Understood);

/// <summary>An operation of the PostgreSQL protocol: a Query, a Bind, a Parse that its text alone refuses, or a FunctionCall.</summary>
internal sealed class PostgresOperation : Operation
{
    /// <summary>The whole message as the client sent it, in a buffer of its own.</summary>
    public required ReadOnlyMemory<byte> Message { get; init; }

    /// <summary>The text: of the message, or of the prepared statement.</summary>
    public required ReadOnlyMemory<byte> Text { get; init; }

    /// <summary>What the text means; set by step 2.</summary>
    public UnderstoodText? Understood { get; set; }

    /// <summary>A Bind's statement.</summary>
    public PreparedText? Statement { get; init; }

    /// <summary>A Bind's content.</summary>
    public BindBody Bind { get; init; }

    /// <summary>A Parse's content.</summary>
    public ParseBody Parse { get; init; }

    /// <summary>Its permit, once it was forwarded.</summary>
    public Permit? Permit { get; set; }

    /// <summary>Rewrites its results; null where they pass.</summary>
    public Rows.PostgresRowMasker? Masker { get; set; }

    /// <summary>Whether the target was asked to cancel it because of its row limit.</summary>
    public bool LimitCancelled { get; set; }

    /// <summary>Rows returned.</summary>
    public long ResultRows { get; set; }

    /// <summary>Rows that command tags name.</summary>
    public long TagRows { get; set; }

    /// <summary>Bytes of its results.</summary>
    public long Bytes { get; set; }

    /// <summary>SQLSTATE, where it failed.</summary>
    public string? ErrorCode { get; set; }

    /// <summary>Index of the statement within its text that the target is at.</summary>
    public int StatementIndex { get; set; }

    /// <summary>When it was forwarded.</summary>
    public long ForwardedAt { get; private set; }

    /// <summary>Whether its completion is recorded.</summary>
    public bool Completed { get; set; }

    /// <summary>Whether it changed the session's tables of names, so that nobody may look there before it has ended.</summary>
    public bool HasEffects => Understood?.HasEffects == true;

    private IncrementalHash? _copyHash;

    /// <summary>Adds COPY data to the hash over them. The client's half of the session adds while the target's may be reading.</summary>
    public void AddCopyData(ReadOnlySpan<byte> data)
    {
        var hash = _copyHash ??= IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        lock (hash)
        {
            hash.AppendData(data);
        }
    }

    /// <summary>SHA-256 over the COPY data so far, lower-case hex; null where there were none.</summary>
    public string? CopySha256()
    {
        if (_copyHash is not { } hash)
        {
            return null;
        }

        lock (hash)
        {
            return Convert.ToHexStringLower(hash.GetCurrentHash());
        }
    }

    public void Forwarded() => ForwardedAt = Stopwatch.GetTimestamp();
}
