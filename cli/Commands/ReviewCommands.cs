using System.CommandLine;
using System.Globalization;
using Countersign.Approval.Contracts;
using Countersign.Cli.Server;

namespace Countersign.Cli.Commands;

/// <summary>reviews: what one person did alone (break-glass, a removal of access) and somebody else has to look at; and revoke.</summary>
internal static class ReviewCommands
{
    public static IEnumerable<Command> Create(CommandFactory make)
    {
        yield return Reviews(make);

        var id = new Argument<string>("REQUEST") { Description = "Request id, apr_…" };
        var comment = new Option<string?>("--comment") { Description = "Why; for the record.", HelpName = "TEXT" };
        yield return make.New("revoke", "Take back an approval, at once; what runs under it ends.", async invocation =>
        {
            var request = await invocation.Server.PostAsync<RevokeRequest, RequestView>(
                "approval", $"approval/v1/requests/{Uri.EscapeDataString(invocation.Get(id))}/revoke", new RevokeRequest(invocation.Get(comment) ?? ""), invocation.Cancellation);
            return invocation.Print(request, output => output.Line($"{request.Id} is {Requests.StateName(request.State)}."));
        }, id, comment);
    }

    private static Command Reviews(CommandFactory make)
    {
        var state = State();
        var group = make.New("reviews", "List what one person did alone and somebody else has to review.", invocation => ListAsync(invocation, invocation.Get(state)), state);
        var listed = State();
        group.Add(make.New("list", "List what one person did alone and somebody else has to review.", invocation => ListAsync(invocation, invocation.Get(listed)), listed));
        group.Add(Close(make));
        return group;
    }

    private static Option<string?> State()
    {
        var state = new Option<string?>("--state") { Description = "open (default, with those that are overdue), overdue or closed.", HelpName = "STATE" };
        state.AcceptOnlyFromAmong("open", "overdue", "closed");
        return state;
    }

    private static Command Close(CommandFactory make)
    {
        var id = new Argument<string>("REQUEST") { Description = "Request id, apr_…" };
        var justified = new Option<bool>("--justified") { Description = "It was right to do it." };
        var unjustified = new Option<bool>("--unjustified") { Description = "It should not have been done." };
        var comment = new Option<string>("--comment") { Description = "What you found; for the record.", HelpName = "TEXT", Required = true };
        return make.New("close", "Close the review of something that somebody else did alone.", async invocation =>
        {
            if (invocation.Get(justified) == invocation.Get(unjustified))
            {
                throw CliException.Usage("Say what you found.", "Add either --justified or --unjustified.");
            }

            var request = await Requests.GetAsync(invocation, invocation.Get(id));
            if (request.Review is null)
            {
                throw new CliException(ExitCodes.Refused, $"{request.Id} needs no review.", code: "no-review");
            }

            if (!invocation.Output.IsJson)
            {
                Requests.Show(invocation.Output, request);
            }

            var closed = await invocation.Server.PostAsync<ReviewRequest, RequestView>(
                "approval", $"approval/v1/requests/{Uri.EscapeDataString(request.Id)}/review",
                new ReviewRequest(request.Digest, invocation.Get(justified), invocation.Get(comment)!), invocation.Cancellation);
            return invocation.Print(closed, output =>
            {
                output.Line();
                output.Line($"The review of {closed.Id} is closed: {(closed.Review?.Justified == true ? "justified" : "not justified")}.");
            });
        }, id, justified, unjustified, comment);
    }

    private static async Task<int> ListAsync(Invocation invocation, string? state)
    {
        var reviews = await invocation.Server.GetAsync<List<RequestView>>(
            "approval", CountersignServer.Query("approval/v1/reviews", ("state", state ?? "open")), invocation.Cancellation);
        return invocation.Print(reviews, output =>
        {
            if (reviews.Count == 0)
            {
                output.Notice("There is nothing to review.");
                return;
            }

            output.Table(
                ["id", "by", "kind", "when", "review", "what"],
                reviews.Select(request => (IReadOnlyList<string>)
                [
                    request.Id,
                    request.RequesterName,
                    request.BreakGlass ? "break-glass" : request.Kind == RequestKind.Bundle ? "policy removal" : "removal",
                    Output.CliOutput.Time(request.CreatedAt),
                    Status(request.Review!, invocation.Host.Time.GetUtcNow()),
                    Output.CliOutput.Brief(string.Join(" ; ", request.Operations.Select(operation => operation.Text))),
                ]));
        });
    }

    private static string Status(RequestReview review, DateTimeOffset now) => review switch
    {
        { ClosedAt: { } } => string.Create(CultureInfo.InvariantCulture, $"{(review.Justified == true ? "justified" : "not justified")}, by {review.ClosedByName}"),
        _ when review.DueAt <= now => $"OVERDUE since {Output.CliOutput.Time(review.DueAt)}",
        _ => $"due {Output.CliOutput.Time(review.DueAt)}",
    };
}
