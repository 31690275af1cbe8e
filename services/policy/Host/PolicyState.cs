using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;
using Countersign.Policy.Language;

namespace Countersign.Policy.Host;

/// <summary>A bundle in force, ready to be asked.</summary>
internal sealed record InForce(BundleMark Mark, BundleEnvelope Envelope, Bundle Bundle, PolicyEngine Engine)
{
    public static InForce Of(BundleMark mark, BundleEnvelope envelope)
    {
        var bundle = BundleCodec.Decode(BundleCodec.Payload(envelope));
        return new InForce(mark, envelope, bundle, PolicyEngine.Compile(bundle));
    }
}

/// <summary>What is in force now. Swapped as a whole; null before the first bundle.</summary>
internal sealed partial class PolicyState(BundleStore store, ILogger<PolicyState> logger) : IHostedService
{
    private volatile InForce? _current;
    private volatile string? _unusable = "The bundle in force has not been read yet.";

    public InForce? Current => _current;

    public long Version => _current?.Mark.Version ?? 0;

    /// <summary>Why the service can't answer for what is in force; null where it can.</summary>
    public string? Unusable => _unusable;

    public void Set(InForce current)
    {
        _current = current;
        _unusable = null;
    }

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (await store.CurrentAsync(cancellationToken) is { } current)
            {
                Set(InForce.Of(current.Mark, current.Envelope));
                LogInForce(current.Mark.Version);
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
