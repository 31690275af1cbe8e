using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Actors.Dapr;

/// <summary>
/// Copies of the requests' documents in the approval service's own store, for lists: actors can't be listed. A copy is never decided on; it is written
/// after the document, at the latest before anybody is told of a change.
/// </summary>
internal sealed partial class RequestMirror([FromKeyedServices(AppIds.Approval)] IStateStore store, ILogger<RequestMirror> logger)
{
    private const int MaxAttempts = 5;

    /// <summary>Writes a copy unless a newer one is there.</summary>
    /// <exception cref="PortUnavailableException">It can't be written now.</exception>
    public async ValueTask WriteAsync(RequestDocument document, CancellationToken cancellation)
    {
        for (var attempt = 0; attempt < MaxAttempts; attempt++)
        {
            var copy = await store.LoadAsync<RequestDocument>(Collections.Requests, document.Spec.Id, cancellation);
            if (copy?.Document.Version > document.Version
                || await store.SaveAsync(Collections.Requests, document.Spec.Id, document, copy?.ETag, cancellation))
            {
                return;
            }
        }

        throw new PortUnavailableException("the copy of a request is changed by others again and again");
    }

    /// <summary>The same where it isn't the last chance: the outbox brings it about again.</summary>
    public async ValueTask TryWriteAsync(RequestDocument document)
    {
        try
        {
            await WriteAsync(document, CancellationToken.None);
        }
        catch (PortUnavailableException error)
        {
            LogBehind(error, document.Spec.Id);
        }
    }

    /// <summary>Effects that begin with the copy.</summary>
    public IEffects<RequestDocument, RequestEffect> Before(IEffects<RequestDocument, RequestEffect> effects) => new Mirrored(this, effects);

    [LoggerMessage(2543, LogLevel.Warning, "The copy of {Request} for lists could not be written and is behind")]
    private partial void LogBehind(Exception error, string request);

    private sealed class Mirrored(RequestMirror mirror, IEffects<RequestDocument, RequestEffect> effects) : IEffects<RequestDocument, RequestEffect>
    {
        public async ValueTask<bool> RunAsync(RequestDocument document, IReadOnlyList<RequestEffect> open, CancellationToken cancellation)
        {
            try
            {
                await mirror.WriteAsync(document, cancellation);
            }
            catch (PortUnavailableException)
            {
                return false;
            }

            return await effects.RunAsync(document, open, cancellation);
        }
    }
}
