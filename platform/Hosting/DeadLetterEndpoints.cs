using Countersign.Platform.Ports;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Platform.Hosting;

/// <summary>A dead letter as an operator sees it: what it was about, not what it said.</summary>
/// <param name="Id">Id for replay.</param>
/// <param name="Topic">Topic.</param>
/// <param name="EventId">Stable id of the event.</param>
/// <param name="Type">CloudEvents type.</param>
/// <param name="Reason">Why it is here.</param>
/// <param name="At">Since when.</param>
/// <param name="Bytes">Size of its data.</param>
public sealed record DeadLetterView(string Id, string Topic, string EventId, string Type, string Reason, DateTimeOffset At, int Bytes);

/// <summary>Dead letters over REST, for enrolled persons.</summary>
public static class DeadLetterEndpoints
{
    /// <summary>Maps <c>/&lt;appid&gt;/v1/dead-letters</c>: list, <c>POST …/replay?id=</c> and <c>DELETE ?id=</c>.</summary>
    public static IEndpointRouteBuilder MapDeadLetters(this IEndpointRouteBuilder app, string appId)
    {
        var group = app.MapGroup($"/{appId}/v1/dead-letters");
        group.MapGet("", async (HttpContext context, IDeadLetters letters) =>
        {
            CheckEnrolled(context);
            return (await letters.ListAsync(context.RequestAborted)).Where(letter => letter.Subscriber == appId).Select(letter => new DeadLetterView(
                letter.Id, letter.Event.Topic, letter.Event.Id, letter.Event.Type, letter.Reason, letter.At, letter.Event.Data.Length));
        }).ExcludeFromDescription().RequireCaller(appId, Callers.Persons);
        group.MapPost("/replay", async (string id, HttpContext context, IDeadLetters letters) =>
        {
            CheckEnrolled(context);
            try
            {
                return await letters.ReplayAsync(id, context.RequestAborted) is { } reason
                    ? Problems.Result(StatusCodes.Status409Conflict, "not-handled", $"It could not be handled: {reason}.")
                    : Results.NoContent();
            }
            catch (KeyNotFoundException)
            {
                return Problems.Result(StatusCodes.Status404NotFound, "not-found", "There is no such dead letter.");
            }
        }).ExcludeFromDescription().RequireCaller(appId, Callers.Persons);
        group.MapDelete("", async (string id, HttpContext context, IDeadLetters letters) =>
        {
            CheckEnrolled(context);
            if (id.StartsWith(Topics.Audit + ":", StringComparison.Ordinal))
            {
                // Nobody alone may make evidence disappear; it waits until it can be recorded.
                return Problems.Result(StatusCodes.Status403Forbidden, "evidence", "Audit events can be replayed, not discarded.");
            }

            return await letters.DiscardAsync(id, context.RequestAborted)
                ? Results.NoContent()
                : Problems.Result(StatusCodes.Status404NotFound, "not-found", "There is no such dead letter.");
        }).ExcludeFromDescription().RequireCaller(appId, Callers.Persons);
        return app;
    }

    private static void CheckEnrolled(HttpContext context)
    {
        if (context.GetCaller().Person is not { Enrolled: true })
        {
            throw new ProblemException(StatusCodes.Status403Forbidden, "not-enrolled", "Only enrolled persons may see to dead letters.");
        }
    }
}
