namespace Countersign.Proxy.Postgres.Messages;

/// <summary>Every message type a client can send after startup (protocol 3.0).</summary>
internal enum FrontendType : byte
{
    Bind = (byte)'B',
    Close = (byte)'C',
    CopyData = (byte)'d',
    CopyDone = (byte)'c',
    CopyFail = (byte)'f',
    Describe = (byte)'D',
    Execute = (byte)'E',
    Flush = (byte)'H',
    FunctionCall = (byte)'F',
    Parse = (byte)'P',
    /// <summary>PasswordMessage, SASLInitialResponse, SASLResponse, GSSResponse: one letter for all of them.</summary>
    Password = (byte)'p',
    Query = (byte)'Q',
    Sync = (byte)'S',
    Terminate = (byte)'X',
}

/// <summary>What the gateway does with a client's message.</summary>
internal enum FrontendTreatment
{
    /// <summary>An operation: nothing reaches the target without a permit.</summary>
    Operation,
    /// <summary>Text that becomes an operation with its Bind: passes unless the text alone is denied.</summary>
    Text,
    /// <summary>Continues an operation that has its permit: passes where that one is known.</summary>
    Continue,
    /// <summary>Has no effect of its own: passes.</summary>
    Pass,
    /// <summary>Data of a COPY that has its permit.</summary>
    CopyInput,
    /// <summary>Always refused.</summary>
    Refuse,
    /// <summary>Ends the session as its client wishes.</summary>
    End,
    /// <summary>Belongs to the login; afterwards it is a protocol error.</summary>
    LoginOnly,
}

/// <summary>How one message type is treated, and how long it may be.</summary>
/// <param name="Treatment">What is done with it.</param>
/// <param name="MaxLength">Largest value of its length field (which counts itself) in bytes.</param>
/// <param name="Streamed">Whether it passes in pieces and is never held in memory as a whole.</param>
internal readonly record struct FrontendRule(FrontendTreatment Treatment, int MaxLength, bool Streamed = false);

/// <summary>The one place that says what happens to a client's message. A type that isn't here ends the session.</summary>
internal static class FrontendRules
{
    /// <summary>Longest text of a Query or Parse. The understanding of texts has a smaller bound of its own and calls longer ones incomplete.</summary>
    public const int MaxText = 16 << 20;

    /// <summary>Longest Bind: all of its parameters are held in memory, since they are part of what is decided.</summary>
    public const int MaxBind = 64 << 20;

    private const int Empty = 4;
    private const int Names = 8 << 10;
    private static readonly FrontendRule?[] Table = Build();

    /// <summary>The rule for a type byte.</summary>
    /// <exception cref="MalformedMessageException">There is no such message.</exception>
    public static FrontendRule For(byte type) => Table[type] ?? throw Malformed.UnknownType(type);

    /// <summary>Checks a length field.</summary>
    /// <exception cref="MalformedMessageException">Unknown type, or a length outside of what the type allows.</exception>
    public static FrontendRule Check(byte type, int length)
    {
        var rule = For(type);
        if (length < 4)
        {
            throw Malformed.Length(((FrontendType)type).ToString(), length);
        }

        if (length > rule.MaxLength)
        {
            throw Malformed.TooLong(((FrontendType)type).ToString(), length, rule.MaxLength);
        }

        return rule;
    }

    private static FrontendRule?[] Build()
    {
        var table = new FrontendRule?[256];
        void Add(FrontendType type, FrontendRule rule) => table[(byte)type] = rule;
        Add(FrontendType.Query, new(FrontendTreatment.Operation, MaxText));
        Add(FrontendType.Bind, new(FrontendTreatment.Operation, MaxBind));
        Add(FrontendType.Parse, new(FrontendTreatment.Text, MaxText));
        Add(FrontendType.Execute, new(FrontendTreatment.Continue, Names));
        Add(FrontendType.Describe, new(FrontendTreatment.Pass, Names));
        Add(FrontendType.Close, new(FrontendTreatment.Pass, Names));
        Add(FrontendType.Flush, new(FrontendTreatment.Pass, Empty));
        Add(FrontendType.Sync, new(FrontendTreatment.Pass, Empty));
        Add(FrontendType.CopyData, new(FrontendTreatment.CopyInput, int.MaxValue, Streamed: true));
        Add(FrontendType.CopyDone, new(FrontendTreatment.CopyInput, Empty));
        Add(FrontendType.CopyFail, new(FrontendTreatment.CopyInput, 64 << 10));
        Add(FrontendType.FunctionCall, new(FrontendTreatment.Refuse, 1 << 20));
        Add(FrontendType.Terminate, new(FrontendTreatment.End, Empty));
        Add(FrontendType.Password, new(FrontendTreatment.LoginOnly, Names));
        return table;
    }
}
