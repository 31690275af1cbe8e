using Countersign.Approval.Workflow;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Microsoft.Extensions.Options;

namespace Countersign.Approval.Host.Notifications;

/// <summary><c>GET /approval/v1/events</c>: changes of requests as server-sent events, to whoever may see them.</summary>
internal static class EventStreamEndpoint
{
    public static async Task HandleAsync(
        HttpContext http, RequestStream stream, Directory directory, IOptions<ApprovalOptions> options, TimeProvider clock, IHostApplicationLifetime lifetime)
    {
        var person = http.GetCaller().Person!;
        if (await directory.StandingAsync(person.Person, http.RequestAborted) is not { Disabled: false } standing)
        {
            throw new RefusalException(new Refusal(RefusalCodes.PersonDisabled, "This person is unknown or disabled."));
        }

        using var subscription = stream.Follow(person.Person, http.Request.Headers["Last-Event-ID"].ToString() is { Length: > 0 and <= 64 } last ? last : null)
            ?? throw new ProblemException(StatusCodes.Status429TooManyRequests, "too-many-streams", "There are too many streams of events, of this person or of all.");
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
        http.Response.ContentType = "text/event-stream; charset=utf-8";
        http.Response.Headers.CacheControl = "no-store";
        http.Response.Headers["X-Accel-Buffering"] = "no";
        var follower = new EventFollower(http, stream, subscription, directory, options.Value.Events, clock, DateTimeOffset.FromUnixTimeSeconds(person.ExpiresAt), standing);
        try
        {
            await follower.RunAsync(ending.Token);
        }
        catch (OperationCanceledException)
        {
            // The reader went away, was too slow, or the process stops. All of them resume by the id of the last event.
        }
        catch (PortUnavailableException)
        {
            // Nobody can say now what this person may see: then it is nothing.
        }
    }
}
