using Countersign.Platform.Ports;
using Dapr.Client;
using Grpc.Core;

namespace Countersign.Platform.Dapr;

/// <summary>Publishes through the sidecar. It has been taken once the broker has it.</summary>
internal sealed class DaprEventBus(DaprClient dapr, DaprOptions options, OwnAppId own, EventSignatures signatures, DaprMetrics metrics) : IEventBus
{
    public async ValueTask PublishAsync(string topic, string id, string type, ReadOnlyMemory<byte> data, CancellationToken cancellation)
    {
        ArgumentException.ThrowIfNullOrEmpty(topic);
        ArgumentException.ThrowIfNullOrEmpty(id);
        ArgumentException.ThrowIfNullOrEmpty(type);
        var published = new BusEvent(topic, id, type, data);
        var envelope = EventEnvelope.Write(published, own.Value, signatures.Sign(published));
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(options.TimeoutSeconds));
        try
        {
            await dapr.PublishByteEventAsync(options.PubSub, topic, envelope, EventEnvelope.ContentType, null, limit.Token).ConfigureAwait(false);
            metrics.Published(topic, "ok");
        }
        catch (Exception error) when (error is global::Dapr.DaprException or RpcException or HttpRequestException
            || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            metrics.Published(topic, "failed");
            throw new PortUnavailableException($"the broker did not take an event for {topic}", error);
        }
    }
}
