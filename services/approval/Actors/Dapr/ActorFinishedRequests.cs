using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Approval.Actors.Dapr;

/// <summary>
/// Where the documents are the actors' and the service's own store has copies: the document first, so that a copy is left to find it by. The document decides, not
/// the copy, and its etag: a turn that changes it meanwhile keeps it.
/// </summary>
internal sealed class ActorFinishedRequests(
    [FromKeyedServices(AppIds.Approval)] IDocumentStore documents, [FromKeyedServices(AppIds.Approval)] IStateStore copies, RequestRetention retention) : IFinishedRequests
{
    public async ValueTask<bool> DeleteAsync(StateItem listed, DateTimeOffset now, CancellationToken cancellation)
    {
        var document = await documents.LoadAsync<RequestDocument>(Collections.Requests, listed.Key, cancellation);
        if (document is not null
            && !(retention.Ended(document.Document, now) && await documents.TryDeleteAsync(Collections.Requests, listed.Key, document.ETag, cancellation)))
        {
            return false;
        }

        return await copies.TryDeleteAsync(Collections.Requests, listed.Key, listed.ETag, cancellation);
    }
}
