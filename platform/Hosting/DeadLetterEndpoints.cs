using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Recorder.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Countersign.Platform.Hosting;

/// <summary>A dead letter as a list shows it: what it was about, not what it said.</summary>
/// <param name="Id">Id among those of its service.</param>
/// <param name="Topic">Topic.</param>
/// <param name="EventId">Stable id of the event.</param>
/// <param name="Type">CloudEvents type.</param>
/// <param name="Reason">Why it is here.</param>
/// <param name="At">Since when.</param>
/// <param name="Bytes">Size of its data.</param>
public sealed record DeadLetterView(string Id, string Topic, string EventId, string Type, string Reason, DateTimeOffset At, int Bytes)
{
    /// <summary>What it said; null in lists.</summary>
    public JsonElement? Data { get; init; }
}

/// <summary>Dead letters over REST, for enrolled persons. Whoever hands one on again or forgets one is recorded before it is done.</summary>
public static class DeadLetterEndpoints
{
    private const int MaxId = 1_100;

    /// <summary>Maps <c>/&lt;appid&gt;/v1/dead-letters</c>: list, <c>GET …/letter?id=</c>, <c>POST …/replay?id=</c> and <c>DELETE ?id=</c>.</summary>
    public static IEndpointRouteBuilder MapDeadLetters(this IEndpointRouteBuilder app, string appId)
    {
        var group = app.MapGroup($"/{appId}/v1/dead-letters");
        group.MapGet("", async (HttpContext context, IDeadLetters letters, IEventBus bus, TimeProvider time) =>
        {
            await CheckEnrolledAsync(context, new Auditor(appId, "", context, bus, time));
            return (await letters.ListAsync(context.RequestAborted)).Where(letter => letter.Subscriber == appId).Select(View);
        }).ExcludeFromDescription().RequireCaller(appId, Callers.Persons);
        group.MapGet("/letter", async (string id, HttpContext context, IDeadLetters letters, IEventBus bus, TimeProvider time) =>
        {
            await CheckEnrolledAsync(context, new Auditor(appId, id, context, bus, time));
            return await FindAsync(letters, appId, id, context.RequestAborted) is { } letter
                ? Results.Ok(View(letter) with { Data = JsonSerializer.Deserialize<JsonElement>(letter.Event.Data.Span) })
                : NotFound();
        }).ExcludeFromDescription().RequireCaller(appId, Callers.Persons);
        group.MapPost("/replay", async (string id, HttpContext context, IDeadLetters letters, IEventBus bus, TimeProvider time) =>
        {
            var auditor = new Auditor(appId, id, context, bus, time);
            await CheckEnrolledAsync(context, auditor);
            if (await FindAsync(letters, appId, id, context.RequestAborted) is not { } letter)
            {
                return NotFound();
            }

            await auditor.RecordAsync("dead-letter.replayed", letter, null);
            try
            {
                if (await letters.ReplayAsync(appId, id, context.RequestAborted) is not { } reason)
                {
                    return Results.NoContent();
                }

                await auditor.TryRecordAsync("dead-letter.replay-failed", letter, reason);
                return Problems.Result(StatusCodes.Status409Conflict, "not-handled", $"It could not be handled: {reason}.");
            }
            catch (KeyNotFoundException)
            {
                return NotFound();
            }
        }).ExcludeFromDescription().RequireCaller(appId, Callers.Persons);
        group.MapDelete("", async (string id, HttpContext context, IDeadLetters letters, IEventBus bus, TimeProvider time) =>
        {
            var auditor = new Auditor(appId, id, context, bus, time);
            await CheckEnrolledAsync(context, auditor);
            if (id.StartsWith(Topics.Audit + ":", StringComparison.Ordinal))
            {
                // Nobody alone may make evidence disappear; it waits until it can be recorded.
                await auditor.TryRecordAsync("dead-letter.refused", null, "evidence");
                return Problems.Result(StatusCodes.Status403Forbidden, "evidence", "Audit events can be replayed, not discarded.");
            }

            if (await FindAsync(letters, appId, id, context.RequestAborted) is not { } letter)
            {
                return NotFound();
            }

            await auditor.RecordAsync("dead-letter.discarded", letter, null);
            return await letters.DiscardAsync(appId, id, context.RequestAborted) ? Results.NoContent() : NotFound();
        }).ExcludeFromDescription().RequireCaller(appId, Callers.Persons);
        return app;
    }

    private static async ValueTask<DeadLetter?> FindAsync(IDeadLetters letters, string appId, string id, CancellationToken cancellation) =>
        id.Length is > 0 and <= MaxId ? await letters.FindAsync(appId, id, cancellation) : null;

    private static DeadLetterView View(DeadLetter letter) =>
        new(letter.Id, letter.Event.Topic, letter.Event.Id, letter.Event.Type, letter.Reason, letter.At, letter.Event.Data.Length);

    private static IResult NotFound() => Problems.Result(StatusCodes.Status404NotFound, "not-found", "There is no such dead letter.");

    private static async ValueTask CheckEnrolledAsync(HttpContext context, Auditor auditor)
    {
        if (context.GetCaller().Person is not { Enrolled: true })
        {
            await auditor.TryRecordAsync("dead-letter.refused", null, "not-enrolled");
            throw new ProblemException(StatusCodes.Status403Forbidden, "not-enrolled", "Only enrolled persons may see to dead letters.");
        }
    }

    /// <summary>Says who did what with which letter.</summary>
    private sealed class Auditor(string appId, string id, HttpContext context, IEventBus bus, TimeProvider time)
    {
        /// <exception cref="PortUnavailableException">It can't be recorded, and so must not be done.</exception>
        public async ValueTask RecordAsync(string action, DeadLetter? letter, string? refused)
        {
            var person = context.GetCaller().Person;
            var audit = new AuditEvent
            {
                Id = $"{appId}-dead-letter-{Guid.NewGuid():N}",
                Service = appId,
                Action = action,
                At = time.GetUtcNow(),
                Person = person?.Person ?? "",
                Name = person?.Name ?? "",
                Subject = id.Length <= MaxId ? id : "",
                Success = refused is null,
                Details = new Dictionary<string, string>
                {
                    ["topic"] = letter?.Event.Topic ?? "",
                    ["type"] = letter?.Event.Type ?? "",
                    ["code"] = refused ?? "",
                },
            };
            await bus.PublishAsync(Topics.Audit, audit.Id, OcsfEvents.EventType, OcsfEvents.Write(audit), context.RequestAborted);
        }

        /// <summary>The same where nothing is done, or it is done already.</summary>
        public async ValueTask TryRecordAsync(string action, DeadLetter? letter, string refused)
        {
            try
            {
                await RecordAsync(action, letter, refused);
            }
            catch (PortUnavailableException)
            {
                // It stays refused, or as it was.
            }
        }
    }
}
