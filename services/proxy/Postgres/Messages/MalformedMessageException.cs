namespace Countersign.Proxy.Postgres.Messages;

/// <summary>
/// Input that is not PostgreSQL protocol 3.0, is larger than its type may be, or comes where it must not. The one exception that readers throw:
/// whoever reads ends the session with it. The message holds no data of the peer.
/// </summary>
public sealed class MalformedMessageException : Exception
{
    /// <summary>Says what was wrong, with SQLSTATE 08P01.</summary>
    public MalformedMessageException(string message)
        : base(message)
    {
    }

    /// <summary>Says what was wrong, with another SQLSTATE.</summary>
    public MalformedMessageException(string message, string code)
        : base(message) => Code = code;

    /// <summary>Without a message.</summary>
    public MalformedMessageException()
    {
    }

    /// <summary>With the error beneath.</summary>
    public MalformedMessageException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>SQLSTATE for the client.</summary>
    public string Code { get; } = "08P01";
}

/// <summary>Throws, so that readers stay small.</summary>
internal static class Malformed
{
    public static MalformedMessageException UnknownType(byte type) => new($"Unknown message type 0x{type:x2}.");

    public static MalformedMessageException Length(string message, int length) => new($"{message}: a length of {length} is not allowed.");

    public static MalformedMessageException TooLong(string message, int length, int limit) =>
        new($"{message}: {length} bytes are more than the limit of {limit}.", "54000");

    public static MalformedMessageException Truncated() => new("A message is shorter than its content.");

    public static MalformedMessageException Excess() => new("A message is longer than its content.");

    public static MalformedMessageException Unterminated() => new("A string has no terminator.");

    public static MalformedMessageException Utf8() => new("A string is not valid UTF-8.", "22021");

    public static MalformedMessageException Name(int limit) => new($"A name of a statement or portal is longer than {limit} bytes.", "42622");

    public static MalformedMessageException Unexpected(string message) => new($"{message} is not expected here.");
}
