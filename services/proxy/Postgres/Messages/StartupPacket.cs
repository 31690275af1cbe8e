namespace Countersign.Proxy.Postgres.Messages;

/// <summary>Kinds of the packets without a type that open a connection.</summary>
internal enum StartupKind
{
    Startup,
    SslRequest,
    GssEncRequest,
    CancelRequest,
}

/// <summary>The first packet of a connection.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="MajorVersion">Of the protocol, for a startup.</param>
/// <param name="MinorVersion">Of the protocol, for a startup.</param>
/// <param name="Parameters">Startup parameters in order.</param>
/// <param name="ProcessId">For a cancel.</param>
/// <param name="Secret">For a cancel: 4 bytes in protocol 3.0, up to 256 in 3.2.</param>
internal sealed record StartupPacket(
    StartupKind Kind, int MajorVersion, int MinorVersion, IReadOnlyList<KeyValuePair<string, string>> Parameters, int ProcessId, byte[] Secret)
{
    /// <summary>The server's own limit.</summary>
    public const int MaxLength = 10_000;

    private const int MaxParameters = 128;
    private const int CancelCode = 80877102;
    private const int SslCode = 80877103;
    private const int GssCode = 80877104;

    /// <summary>Checks a length field (which counts itself).</summary>
    /// <exception cref="MalformedMessageException">Outside of what a startup packet may be.</exception>
    public static void CheckLength(int length)
    {
        if (length < 8)
        {
            throw Malformed.Length("Startup", length);
        }

        if (length > MaxLength)
        {
            throw Malformed.TooLong("Startup", length, MaxLength);
        }
    }

    /// <summary>Reads what follows the length.</summary>
    /// <exception cref="MalformedMessageException">Not a startup packet.</exception>
    public static StartupPacket Read(ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        var code = reader.ReadInt32();
        switch (code)
        {
            case SslCode:
                reader.ExpectEnd();
                return Of(StartupKind.SslRequest);
            case GssCode:
                reader.ExpectEnd();
                return Of(StartupKind.GssEncRequest);
            case CancelCode:
                var process = reader.ReadInt32();
                if (reader.Remaining is < 4 or > 256)
                {
                    throw Malformed.Length("CancelRequest", body.Length);
                }

                return Of(StartupKind.CancelRequest) with { ProcessId = process, Secret = reader.Take(reader.Remaining).ToArray() };
            default:
                var packet = Of(StartupKind.Startup) with { MajorVersion = code >>> 16, MinorVersion = code & 0xffff };
                if (packet.MajorVersion != 3)
                {
                    // What follows need not be parameters; the caller refuses the version.
                    return packet;
                }

                return packet with { Parameters = ReadParameters(ref reader) };
        }
    }

    private static List<KeyValuePair<string, string>> ReadParameters(ref MessageReader reader)
    {
        var parameters = new List<KeyValuePair<string, string>>();
        while (true)
        {
            var name = reader.ReadString();
            if (name.Length == 0)
            {
                reader.ExpectEnd();
                return parameters;
            }

            if (parameters.Count == MaxParameters)
            {
                throw Malformed.Excess();
            }

            parameters.Add(new(name, reader.ReadString()));
        }
    }

    private static StartupPacket Of(StartupKind kind) => new(kind, 0, 0, [], 0, []);
}
