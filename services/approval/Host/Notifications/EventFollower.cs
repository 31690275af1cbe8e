using System.Text;
using System.Text.Json;
using Countersign.Identity.Contracts;

namespace Countersign.Approval.Host.Notifications;

/// <summary>One stream of events from its beginning to its end.</summary>
internal sealed class EventFollower(
    HttpContext http, RequestStream stream, RequestStream.Subscription subscription, Directory directory, EventStreamOptions options, TimeProvider clock,
    DateTimeOffset expires, PersonStanding standing)
{
    // Whoever was disabled, or isn't enrolled any more, hears of changes for no longer than this.
    private static readonly TimeSpan MaxAge = TimeSpan.FromSeconds(2);

    // The token's end is looked at no later than this: the clock may be moved, or the machine have slept.
    private static readonly TimeSpan Look = TimeSpan.FromSeconds(1);

    private readonly TimeSpan _heartbeat = TimeSpan.FromSeconds(options.HeartbeatSeconds);
    private readonly TimeSpan _patience = TimeSpan.FromSeconds(options.PatienceSeconds);
    private PersonStanding _standing = standing;
    private long _asked = clock.GetTimestamp();
    private long _wrote = clock.GetTimestamp();

    /// <summary>Follows until the token ends, the reader is too far behind, or the person may see nothing any more.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        await WriteAsync("retry: 3000\n\n", cancellation);
        if (subscription.Reset)
        {
            await WriteAsync($"event: reset\nid: {stream.EventId(subscription.Head)}\ndata: {{}}\n\n", cancellation);
        }

        foreach (var change in subscription.Missed)
        {
            if (!await WriteAsync(change, cancellation))
            {
                return;
            }
        }

        var reader = subscription.Changes.Reader;
        Task<bool>? waiting = null;
        while (!Expired)
        {
            waiting ??= reader.WaitToReadAsync(cancellation).AsTask();
            if (await Task.WhenAny(waiting, Task.Delay(Look, cancellation)) == waiting)
            {
                if (!await waiting)
                {
                    // Too far behind.
                    return;
                }

                waiting = null;
            }

            cancellation.ThrowIfCancellationRequested();
            if (!await HeartbeatAsync(cancellation))
            {
                return;
            }

            while (reader.TryRead(out var change))
            {
                if (!await WriteAsync(change, cancellation))
                {
                    return;
                }
            }
        }
    }

    private bool Expired => clock.GetUtcNow() >= expires;

    /// <returns>False where the person may hear nothing any more.</returns>
    private async ValueTask<bool> HeartbeatAsync(CancellationToken cancellation)
    {
        if (Expired || (clock.GetElapsedTime(_wrote) >= _heartbeat && !await MayHearAsync(TimeSpan.Zero, cancellation)))
        {
            return false;
        }

        if (clock.GetElapsedTime(_wrote) >= _heartbeat)
        {
            await WriteAsync(":\n\n", cancellation);
        }

        return true;
    }

    private async ValueTask<bool> MayHearAsync(TimeSpan oldest, CancellationToken cancellation)
    {
        if (clock.GetElapsedTime(_asked) >= oldest)
        {
            _asked = clock.GetTimestamp();
            if (await directory.StandingAsync(subscription.Person, cancellation) is not { Disabled: false } now)
            {
                return false;
            }

            _standing = now;
        }

        return true;
    }

    /// <returns>False where the person may hear nothing any more.</returns>
    private async ValueTask<bool> WriteAsync(StreamedChange change, CancellationToken cancellation)
    {
        if (Expired || !await MayHearAsync(MaxAge, cancellation))
        {
            return false;
        }

        if (RequestStream.MaySee(_standing, change.Requester))
        {
            var data = JsonSerializer.Serialize(change.Changed, JsonSerializerOptions.Web);
            await WriteAsync($"event: request\nid: {stream.EventId(change.Sequence)}\ndata: {data}\n\n", cancellation);
        }

        return true;
    }

    private async Task WriteAsync(string text, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(_patience);
        try
        {
            await http.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(text), limit.Token);
            await http.Response.Body.FlushAsync(limit.Token);
            _wrote = clock.GetTimestamp();
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            http.Abort();
            throw;
        }
    }
}
