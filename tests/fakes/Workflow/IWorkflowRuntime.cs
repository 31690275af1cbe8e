using System.Text.Json;
using Countersign.Approval.Actors;
using Countersign.Approval.Workflow;

namespace Countersign.Fakes.Workflow;

/// <summary>What hosts workflows: grains, actors, or nothing but memory. The contract suite runs against each.</summary>
public interface IWorkflowRuntime : IAsyncDisposable
{
    /// <summary>Reaches the workflows of the process that runs now.</summary>
    IWorkflowHost Workflows { get; }

    /// <summary>Ends the process; documents and wake-ups stay.</summary>
    Task StopAsync();

    /// <summary>Starts another process on the same documents, on other ports.</summary>
    Task StartAsync();

    /// <summary>Makes the store of documents fail, or work again.</summary>
    void FailStore(bool down);
}

/// <summary>Messages as objects.</summary>
public static class WorkflowRuntimeMessages
{
    /// <summary>Sends a message to a request.</summary>
    public static Task<ActorAnswer> SendAsync(this IWorkflowRuntime runtime, string request, RequestMessage message) =>
        runtime.SendAsync(WorkflowTypes.Request, request, JsonSerializer.SerializeToUtf8Bytes(message, WorkflowJson.Options));

    /// <summary>Asks for something.</summary>
    public static Task<ActorAnswer> AskAsync(this IWorkflowRuntime runtime, RequestSpec spec, string person = "alice") =>
        runtime.SendAsync(
            WorkflowTypes.Requester, person, JsonSerializer.SerializeToUtf8Bytes<RequesterMessage>(new AskMessage(spec, "session:" + person), WorkflowJson.Options));

    /// <summary>Sends bytes.</summary>
    public static async Task<ActorAnswer> SendAsync(this IWorkflowRuntime runtime, string type, string id, ReadOnlyMemory<byte> message)
    {
        ArgumentNullException.ThrowIfNull(runtime);
        var answer = await runtime.Workflows.SendAsync(type, id, message, CancellationToken.None);
        return JsonSerializer.Deserialize<ActorAnswer>(answer.Span, WorkflowJson.Options)!;
    }
}
