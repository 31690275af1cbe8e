using System.Text.Json;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;
using Countersign.Policy.Language;

namespace Countersign.Policy.Host;

/// <summary>A bundle in force, ready to be asked.</summary>
internal sealed record InForce(BundleMark Mark, BundleEnvelope Envelope, Bundle Bundle, PolicyEngine Engine)
{
    /// <summary>The envelope as it is given out: written once, since a thousand proxies ask for it in the same moment.</summary>
    public ReadOnlyMemory<byte> Answer { get; } = JsonSerializer.SerializeToUtf8Bytes(Envelope, JsonSerializerOptions.Web);

    public static InForce Of(BundleMark mark, BundleEnvelope envelope)
    {
        var bundle = BundleCodec.Decode(BundleCodec.Payload(envelope));
        return new InForce(mark, envelope, bundle, PolicyEngine.Compile(bundle));
    }
}

/// <summary>What is in force now. Swapped as a whole; null before the first bundle.</summary>
internal sealed partial class PolicyState(BundleStore store, ILogger<PolicyState> logger) : IHostedService
{
    private readonly Lock _gate = new();
    private volatile InForce? _current;
    private volatile string? _unusable = "The bundle in force has not been read yet.";

    public InForce? Current => _current;

    public long Version => _current?.Mark.Version ?? 0;

    /// <summary>Why the service can't answer for what is in force; null where it can.</summary>
    public string? Unusable => _unusable;

    public void Set(InForce current)
    {
        lock (_gate)
        {
            if (_current is null || _current.Mark.Version < current.Mark.Version)
            {
                _current = current;
            }

            _unusable = null;
        }
    }

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        await LoadAsync(cancellationToken);
        if (_current is { } current)
        {
            LogInForce(current.Mark.Version);
        }
    }

    /// <summary>Takes over what another replica has put into force. Asked before every answer: an old bundle must not be given out as the current one.</summary>
    /// <exception cref="PortUnavailableException">The store can't be reached.</exception>
    public async ValueTask RefreshAsync(CancellationToken cancellation)
    {
        var mark = await store.MarkAsync(cancellation);
        if (mark == _current?.Mark && _unusable is null)
        {
            return;
        }

        if ((mark?.Version ?? 0) < Version)
        {
            // A restored backup: what was denied since then would be allowed again.
            _unusable = $"The store went back from version {Version} to {mark?.Version ?? 0}.";
            return;
        }

        await LoadAsync(cancellation);
    }

    private async Task LoadAsync(CancellationToken cancellation)
    {
        try
        {
            if (await store.CurrentAsync(cancellation) is { } current)
            {
                Set(InForce.Of(current.Mark, current.Envelope));
            }

            _unusable = null;
        }
        catch (Exception error) when (error is InvalidDataException or BundleRejectedException or PolicyFormatException or System.Text.Json.JsonException)
        {
            // Going on as if there were no bundle would let a change be made from nothing: the service stays up, and says that it can't.
            _unusable = "The bundle in force can't be read.";
            LogUnusable(error);
        }
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    [LoggerMessage(3001, LogLevel.Information, "Policy bundle {Version} is in force")]
    private partial void LogInForce(long version);

    [LoggerMessage(3002, LogLevel.Critical, "The policy bundle in force can't be read")]
    private partial void LogUnusable(Exception error);
}
