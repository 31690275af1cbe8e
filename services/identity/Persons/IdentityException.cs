namespace Countersign.Identity.Persons;

/// <summary>What the caller asked for is refused. The message is shown to them; routes turn it into problem details.</summary>
public sealed class IdentityException : Exception
{
    /// <summary>A refusal.</summary>
    /// <param name="status">HTTP status.</param>
    /// <param name="code">Stable code, e.g. <c>bootstrap-closed</c>.</param>
    /// <param name="message">For people; no secrets.</param>
    public IdentityException(int status, string code, string message)
        : base(message)
    {
        Status = status;
        Code = code;
    }

    /// <summary>Malformed.</summary>
    public IdentityException(string message)
        : this(400, "bad-request", message)
    {
    }

    /// <summary>Malformed.</summary>
    public IdentityException(string message, Exception inner)
        : base(message, inner)
    {
        Status = 400;
        Code = "bad-request";
    }

    /// <summary>Malformed.</summary>
    public IdentityException()
        : this("The request is malformed.")
    {
    }

    /// <summary>HTTP status.</summary>
    public int Status { get; }

    /// <summary>Stable code.</summary>
    public string Code { get; }
}
