namespace Countersign.Proxy.Postgres.Messages;

/// <summary>Every message type a server can send (protocol 3.0).</summary>
internal enum BackendType : byte
{
    Authentication = (byte)'R',
    BackendKeyData = (byte)'K',
    BindComplete = (byte)'2',
    CloseComplete = (byte)'3',
    CommandComplete = (byte)'C',
    CopyBothResponse = (byte)'W',
    CopyData = (byte)'d',
    CopyDone = (byte)'c',
    CopyInResponse = (byte)'G',
    CopyOutResponse = (byte)'H',
    DataRow = (byte)'D',
    EmptyQueryResponse = (byte)'I',
    ErrorResponse = (byte)'E',
    FunctionCallResponse = (byte)'V',
    NegotiateProtocolVersion = (byte)'v',
    NoData = (byte)'n',
    NoticeResponse = (byte)'N',
    NotificationResponse = (byte)'A',
    ParameterDescription = (byte)'t',
    ParameterStatus = (byte)'S',
    ParseComplete = (byte)'1',
    PortalSuspended = (byte)'s',
    ReadyForQuery = (byte)'Z',
    RowDescription = (byte)'T',
}

/// <summary>What the gateway does with a target's message.</summary>
internal enum BackendTreatment
{
    /// <summary>Rows and COPY data: pass in pieces where nothing is masked, else rewritten.</summary>
    Result,
    /// <summary>Answers one message of the client and moves the pipeline on.</summary>
    Answer,
    /// <summary>Error or notice: its fields are cleaned, a refusal is put in place of an injected error.</summary>
    Report,
    /// <summary>A setting changed: forced ones end the session, hidden ones are kept back.</summary>
    Setting,
    /// <summary>Comes unasked and passes.</summary>
    Asynchronous,
    /// <summary>Ends the session: the gateway lets nothing through that it could answer.</summary>
    End,
    /// <summary>Belongs to the login; afterwards it ends the session.</summary>
    LoginOnly,
}

/// <summary>How one message type of a target is treated, and how long it may be.</summary>
internal readonly record struct BackendRule(BackendTreatment Treatment, int MaxLength, bool Streamed = false);

/// <summary>The one place that says what happens to a target's message. A type that isn't here ends the session.</summary>
internal static class BackendRules
{
    private static readonly BackendRule?[] Table = Build();

    /// <summary>The rule for a type byte.</summary>
    /// <exception cref="MalformedMessageException">There is no such message.</exception>
    public static BackendRule For(byte type) => Table[type] ?? throw Malformed.UnknownType(type);

    /// <summary>Checks a length field.</summary>
    /// <exception cref="MalformedMessageException">Unknown type, or a length outside of what the type allows.</exception>
    public static BackendRule Check(byte type, int length)
    {
        var rule = For(type);
        if (length < 4)
        {
            throw Malformed.Length(((BackendType)type).ToString(), length);
        }

        if (length > rule.MaxLength)
        {
            throw Malformed.TooLong(((BackendType)type).ToString(), length, rule.MaxLength);
        }

        return rule;
    }

    private static BackendRule?[] Build()
    {
        const int Small = 64 << 10;
        const int Large = 16 << 20;
        var table = new BackendRule?[256];
        void Add(BackendType type, BackendRule rule) => table[(byte)type] = rule;
        Add(BackendType.DataRow, new(BackendTreatment.Result, int.MaxValue, Streamed: true));
        Add(BackendType.CopyData, new(BackendTreatment.Result, int.MaxValue, Streamed: true));
        Add(BackendType.RowDescription, new(BackendTreatment.Answer, 4 << 20));
        Add(BackendType.ParameterDescription, new(BackendTreatment.Answer, 1 << 20));
        Add(BackendType.NoData, new(BackendTreatment.Answer, 4));
        Add(BackendType.ParseComplete, new(BackendTreatment.Answer, 4));
        Add(BackendType.BindComplete, new(BackendTreatment.Answer, 4));
        Add(BackendType.CloseComplete, new(BackendTreatment.Answer, 4));
        Add(BackendType.PortalSuspended, new(BackendTreatment.Answer, 4));
        Add(BackendType.EmptyQueryResponse, new(BackendTreatment.Answer, 4));
        Add(BackendType.CommandComplete, new(BackendTreatment.Answer, Small));
        Add(BackendType.CopyInResponse, new(BackendTreatment.Answer, Small));
        Add(BackendType.CopyOutResponse, new(BackendTreatment.Answer, Small));
        Add(BackendType.CopyDone, new(BackendTreatment.Answer, 4));
        Add(BackendType.ReadyForQuery, new(BackendTreatment.Answer, 5));
        Add(BackendType.ErrorResponse, new(BackendTreatment.Report, Large));
        Add(BackendType.NoticeResponse, new(BackendTreatment.Report, Large));
        Add(BackendType.ParameterStatus, new(BackendTreatment.Setting, 1 << 20));
        Add(BackendType.NotificationResponse, new(BackendTreatment.Asynchronous, Small));
        Add(BackendType.CopyBothResponse, new(BackendTreatment.End, Small));
        Add(BackendType.FunctionCallResponse, new(BackendTreatment.End, int.MaxValue));
        Add(BackendType.Authentication, new(BackendTreatment.LoginOnly, Small));
        Add(BackendType.BackendKeyData, new(BackendTreatment.LoginOnly, 264));
        Add(BackendType.NegotiateProtocolVersion, new(BackendTreatment.LoginOnly, Small));
        return table;
    }
}
