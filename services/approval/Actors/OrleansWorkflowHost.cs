using System.Security.Cryptography;
using System.Text;
using Countersign.Platform.Ports;
using Orleans.Runtime;

namespace Countersign.Approval.Actors;

/// <summary>
/// A secret of this process that goes along with every call of a grain. The silo listens on a loopback port without authentication: without
/// this, every local user could speak to the grains.
/// </summary>
internal sealed class OwnProcess
{
    public const string Name = "countersign.process";

    public string Secret { get; } = Convert.ToHexString(RandomNumberGenerator.GetBytes(32));

    public bool Is(object? secret) => secret is string text
        && CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(text), Encoding.ASCII.GetBytes(Secret));
}

/// <summary>Refuses calls of our grains that don't come from this process.</summary>
internal sealed class OwnProcessFilter(OwnProcess process) : IIncomingGrainCallFilter
{
    public Task Invoke(IIncomingGrainCallContext context) =>
        context.Grain is IWorkflowGrain && typeof(IWorkflowGrain).IsAssignableFrom(context.InterfaceMethod.DeclaringType) && !process.Is(RequestContext.Get(OwnProcess.Name))
            ? throw new UnauthorizedAccessException("This silo serves its own process only.")
            : context.Invoke();
}

/// <summary>Workflows as Orleans grains of this process.</summary>
internal sealed class OrleansWorkflowHost(IGrainFactory grains, OwnProcess process) : IWorkflowHost
{
    public async ValueTask<ReadOnlyMemory<byte>> SendAsync(string type, string id, ReadOnlyMemory<byte> message, CancellationToken cancellation)
    {
        IWorkflowGrain grain = type switch
        {
            WorkflowTypes.Request => grains.GetGrain<IRequestGrain>(id),
            WorkflowTypes.Requester => grains.GetGrain<IRequesterGrain>(id),
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a type of workflow"),
        };
        RequestContext.Set(OwnProcess.Name, process.Secret);
        try
        {
            return await grain.HandleAsync(message.ToArray()).WaitAsync(cancellation);
        }
        catch (Exception error) when (error is TimeoutException or OrleansException)
        {
            throw new PortUnavailableException("the workflow did not answer", error);
        }
    }
}
