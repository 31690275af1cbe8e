using System.Text.Json;
using Countersign.Platform.Ports;
using Dapr;
using Dapr.Actors;
using Dapr.Actors.Client;

namespace Countersign.Approval.Actors.Dapr;

/// <summary>Workflows as Dapr actors, reached through the sidecar.</summary>
internal sealed class DaprWorkflowHost(IActorProxyFactory proxies, ActorSeal seal) : IWorkflowHost
{
    // A turn that opens a request waits for another one.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(25);

    // How long placement may take to send the next turn elsewhere: 100 ms doubled five times are 3 s in all.
    private const int Attempts = 6;
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(100);

    /// <summary>Type of the actors of requests.</summary>
    public const string Request = "Request";

    /// <summary>Type of the actors of requesters.</summary>
    public const string Requester = "Requester";

    public async ValueTask<ReadOnlyMemory<byte>> SendAsync(string type, string id, ReadOnlyMemory<byte> message, CancellationToken cancellation)
    {
        var actor = type switch
        {
            WorkflowTypes.Request => Request,
            WorkflowTypes.Requester => Requester,
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a type of workflow"),
        };
        if (!IsId(id))
        {
            throw new PortUnavailableException("there can be no workflow of that name");
        }

        // Without placement a sidecar may keep the call until there is one again: whoever asked is told that it can't be done now.
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Patience);
        try
        {
            for (var (attempt, pause) = (1, FirstPause); ; attempt++, pause *= 2)
            {
                var answer = await proxies.Create(new ActorId(id), actor)
                    .InvokeMethodAsync<ActorEnvelope, JsonElement>(nameof(IWorkflowActor.HandleAsync), seal.Seal(actor, id, message.Span), limit.Token);
                if (answer.ValueKind != JsonValueKind.Null)
                {
                    return JsonSerializer.SerializeToUtf8Bytes(answer);
                }

                // The replica that had the turn is leaving and changed nothing.
                if (attempt == Attempts)
                {
                    throw new PortUnavailableException("the workflow's replica is leaving and no other took its place");
                }

                await Task.Delay(pause, limit.Token);
            }
        }
        catch (Exception error) when (error is DaprException or HttpRequestException or JsonException or TimeoutException
            || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new PortUnavailableException("the workflow did not answer", error);
        }
    }

    // The SDK puts ids into paths as they are.
    private static bool IsId(string id) => id.Length is > 0 and <= 128 && id.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_');
}
