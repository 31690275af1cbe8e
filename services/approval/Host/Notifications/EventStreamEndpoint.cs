using System.Text;
using System.Text.Json;
using Countersign.Approval.Workflow;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host.Notifications;

/// <summary><c>GET /approval/v1/events</c>: changes of requests as server-sent events, to whoever may see them.</summary>
internal static class EventStreamEndpoint
{
    /// <summary>Pause after which something is sent in any case, and the person's standing is asked again.</summary>
    public static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(15);

    private static readonly TimeSpan WritePatience = TimeSpan.FromSeconds(10);

    public static async Task HandleAsync(HttpContext http, RequestStream stream, Directory directory, TimeProvider clock, IHostApplicationLifetime lifetime)
    {
        var caller = http.GetCaller();
        var person = caller.Person!;
        var standing = await directory.StandingAsync(person.Person, http.RequestAborted);
        if (standing is not { Disabled: false })
        {
            throw new RefusalException(new Refusal(RefusalCodes.PersonDisabled, "This person is unknown or disabled."));
        }

        using var subscription = stream.Follow(person.Person, http.Request.Headers["Last-Event-ID"].ToString() is { Length: > 0 and <= 64 } last ? last : null)
            ?? throw new ProblemException(StatusCodes.Status429TooManyRequests, "too-many-streams", "There are too many streams of events, of this person or of all.");
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
        http.Response.ContentType = "text/event-stream; charset=utf-8";
        http.Response.Headers.CacheControl = "no-store";
        http.Response.Headers["X-Accel-Buffering"] = "no";
        try
        {
            await FollowAsync(http, stream, subscription, standing, directory, clock, DateTimeOffset.FromUnixTimeSeconds(person.ExpiresAt), ending.Token);
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

    private static async Task FollowAsync(
        HttpContext http, RequestStream stream, RequestStream.Subscription subscription, PersonStanding standing, Directory directory, TimeProvider clock,
        DateTimeOffset expires, CancellationToken cancellation)
    {
        await WriteAsync(http, "retry: 3000\n\n", cancellation);
        if (subscription.Reset)
        {
            await WriteAsync(http, $"event: reset\nid: {stream.EventId(subscription.Head)}\ndata: {{}}\n\n", cancellation);
        }

        foreach (var change in subscription.Missed)
        {
            await WriteAsync(http, stream, change, standing, cancellation);
        }

        var reader = subscription.Changes.Reader;
        var asked = clock.GetTimestamp();
        Task<bool>? waiting = null;
        while (clock.GetUtcNow() < expires)
        {
            waiting ??= reader.WaitToReadAsync(cancellation).AsTask();
            if (await Task.WhenAny(waiting, Task.Delay(Heartbeat, cancellation)) == waiting)
            {
                if (!await waiting)
                {
                    // Too far behind.
                    return;
                }

                waiting = null;
            }

            cancellation.ThrowIfCancellationRequested();
            if (clock.GetElapsedTime(asked) >= Heartbeat)
            {
                asked = clock.GetTimestamp();
                if (await directory.StandingAsync(subscription.Person, cancellation) is not { Disabled: false } now)
                {
                    return;
                }

                standing = now;
                await WriteAsync(http, ":\n\n", cancellation);
            }

            while (reader.TryRead(out var change))
            {
                await WriteAsync(http, stream, change, standing, cancellation);
            }
        }
    }

    private static async Task WriteAsync(HttpContext http, RequestStream stream, StreamedChange change, PersonStanding standing, CancellationToken cancellation)
    {
        if (RequestStream.MaySee(standing, change.Requester))
        {
            var data = JsonSerializer.Serialize(change.Changed, JsonSerializerOptions.Web);
            await WriteAsync(http, $"event: request\nid: {stream.EventId(change.Sequence)}\ndata: {data}\n\n", cancellation);
        }
    }

    private static async Task WriteAsync(HttpContext http, string text, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(WritePatience);
        try
        {
            await http.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(text), limit.Token);
            await http.Response.Body.FlushAsync(limit.Token);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            http.Abort();
            throw;
        }
    }
}
