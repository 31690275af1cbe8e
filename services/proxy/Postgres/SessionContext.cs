using System.Security.Cryptography;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Record;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;
using Microsoft.Extensions.Logging;

namespace Countersign.Proxy.Postgres;

/// <summary>What the parts of one session share.</summary>
internal sealed class SessionContext
{
    public required PathSession Session { get; init; }

    public required PostgresOptions Options { get; init; }

    public required TimeProvider Clock { get; init; }

    public required ILogger Log { get; init; }

    public required ISessionRecording Recording { get; init; }

    public required PostgresTransport ClientTransport { get; init; }

    public required InputBuffer Client { get; init; }

    public required ClientWriter Writer { get; init; }

    public required TargetConnection Target { get; init; }

    /// <summary>Masks of the session; null where nothing can be masked.</summary>
    public SessionMasks? Masks { get; init; }

    /// <summary>Finds out what held operations would do; null where nothing is shown.</summary>
    public Impact.ImpactPreview? Impact { get; init; }

    public Pipeline Pipeline { get; } = new();

    /// <summary>What a refused message is replaced by: one word that no grammar knows, random, so that its error can't be taken for another.</summary>
    public byte[] RefusedWord { get; } = System.Text.Encoding.ASCII.GetBytes("cs_refused_" + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(12)));

    /// <summary>Name of the gateway's own statement and portal in a client's pipeline.</summary>
    public string GatewayName { get; } = "cs_gateway_" + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(12));

    /// <summary>application_name as the client knows it; sent again as sign of life during a hold.</summary>
    public string ApplicationName { get; set; } = "";

    /// <summary>The cancel that a row limit has caused: completed once the target has taken it. Set by the target's half before it passes on what made it necessary.</summary>
    public Task LimitCancel
    {
        get => Volatile.Read(ref _limitCancel);
        set => Volatile.Write(ref _limitCancel, value);
    }

    private Task _limitCancel = Task.CompletedTask;

    /// <summary>Operations so far.</summary>
    public long Operations { get; set; }

    /// <summary>Bytes from the client.</summary>
    public long BytesIn => Client.Position;

    /// <summary>Ends the session when it is signalled.</summary>
    public CancellationToken Ending { get; init; }
}
