using System.Globalization;
using Countersign.Approval.Contracts;
using Countersign.Cli.Output;
using Countersign.Cli.Server;

namespace Countersign.Cli.Commands;

/// <summary>Approval requests: reading, showing and waiting for them.</summary>
internal static class Requests
{
    private static readonly TimeSpan PollPause = TimeSpan.FromMilliseconds(500);

    public static Task<RequestView> GetAsync(Invocation invocation, string id) =>
        invocation.Server.GetAsync<RequestView>("approval", $"approval/v1/requests/{Uri.EscapeDataString(id)}", invocation.Cancellation);

    public static bool IsOpen(RequestState state) => state == RequestState.Pending;

    /// <summary>Whether the request has come to the end that its requester wants, or may still.</summary>
    public static bool IsGood(RequestState state) => state is RequestState.Pending or RequestState.Approved or RequestState.Consumed;

    public static string StateName(RequestState state) =>
        System.Text.Json.JsonSerializer.SerializeToElement(state, CliJson.Wire).GetString()!;

    public static string KindName(RequestKind kind) => System.Text.Json.JsonSerializer.SerializeToElement(kind, CliJson.Wire).GetString()!;

    /// <summary>Everything that whoever decides must see, exactly: the texts, the parameters, what the digest covers beside them.</summary>
    public static void Show(CliOutput output, RequestView request)
    {
        output.Heading($"Request {request.Id}");
        output.Fields(
            ("state", StateName(request.State)),
            ("kind", KindName(request.Kind)),
            ("from", $"{request.RequesterName} ({request.Requester})"),
            ("connection", request.Connection.Length == 0 ? null : $"{request.Connection}/{request.Database}"),
            ("reason", request.Reason),
            ("held by", string.Join(", ", request.Rules)),
            ("message", request.Message),
            ("needs", string.Join(" and ", request.AllOf.Select(Requirement))),
            ("context", string.Join(", ", request.Context.OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => $"{pair.Key}={pair.Value}"))),
            ("asked", CliOutput.Time(request.CreatedAt)),
            ("expires", CliOutput.Time(request.ExpiresAt)),
            ("redeemed", request.Redeemed == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"{request.Redeemed} of {request.Operations.Count}")),
            ("window", request.Window is { } window ? $"{TimeSpan.FromSeconds(window.Seconds)} {(request.WindowBeganAt is { } began ? $"since {CliOutput.Time(began)}" : "from its first use")}: {string.Join(", ", window.Statements)} on {string.Join(", ", window.Relations)}" : null),
            ("extends", request.Extends),
            ("alone", request.BreakGlass ? "its requester went ahead alone (break-glass)" : request is { BreakGlassAllowed: true, State: RequestState.Pending } ? "its requester may go ahead alone (countersign break-glass)" : null),
            ("review", request.Review is { } review ? review.ClosedAt is { } closed ? $"{(review.Justified == true ? "justified" : "not justified")}, by {review.ClosedByName} at {CliOutput.Time(closed)}: {review.Comment}" : $"due by {CliOutput.Time(review.DueAt)}" : null),
            ("taken back", request.Revocation is { } revocation ? $"by {revocation.Name} at {CliOutput.Time(revocation.At)}{(revocation.Comment.Length == 0 ? "" : $": {revocation.Comment}")}" : null),
            ("link", request.Link));
        if (request.Impact is { } impact)
        {
            Impacts.Show(output, impact);
        }

        foreach (var decision in request.Decisions)
        {
            var comment = decision.Comment.Length == 0 ? "" : $": {decision.Comment}";
            output.Line($"{(decision.Approved ? "approved" : "denied")} by {decision.Name} at {CliOutput.Time(decision.At)}{comment}");
        }

        if (request.Transaction.Count > 0)
        {
            output.Line();
            output.Heading("Earlier in the same open transaction, which may hold locks");
            foreach (var statement in request.Transaction)
            {
                output.Exact(statement);
            }
        }

        for (var index = 0; index < request.Operations.Count; index++)
        {
            var operation = request.Operations[index];
            output.Line();
            output.Heading(request.Operations.Count == 1 ? "Operation" : string.Create(CultureInfo.InvariantCulture, $"Operation {index + 1} of {request.Operations.Count}"));
            output.Exact(operation.Text);
            output.Line($"  digest {operation.Digest}");
            for (var parameter = 0; parameter < operation.Parameters.Count; parameter++)
            {
                var name = string.Create(CultureInfo.InvariantCulture, $"${parameter + 1} =");
                if (operation.Parameters[parameter] is not { } value)
                {
                    output.Line($"  {name} NULL");
                }
                else
                {
                    output.Line($"  {name} text of {value.Length} characters:");
                    output.Exact(value);
                }
            }

            if (TerminalText.Unusual(string.Concat(operation.Parameters.Prepend(operation.Text))) is { Count: > 0 } unusual)
            {
                output.Line($"  note: has characters outside of ASCII: {string.Join(", ", unusual)}");
            }
        }

        output.Line();
        output.Fields(("digest", request.Digest));
    }

    /// <summary>Computed here too: what is sent back stands for the operations that were printed, whatever else the answer says.</summary>
    public static bool DigestBelongs(RequestView request)
    {
        try
        {
            return RequestDigest.Compute([.. request.Operations.Select(operation => operation.Digest)]) == request.Digest;
        }
        catch (FormatException)
        {
            return false;
        }
    }

    /// <summary>Rows of a list.</summary>
    public static void List(CliOutput output, IReadOnlyList<RequestView> requests) => output.Table(
        ["id", "state", "from", "connection", "expires", "what"],
        requests.Select(request => (IReadOnlyList<string>)
        [
            request.Id,
            StateName(request.State),
            request.RequesterName,
            request.Connection.Length == 0 ? KindName(request.Kind) : request.Connection,
            CliOutput.Time(request.ExpiresAt),
            CliOutput.Brief(string.Join(" ; ", request.Operations.Select(operation => operation.Text))),
        ]));

    /// <summary>Asks again until the answer is there.</summary>
    /// <exception cref="CliException">It did not come in time.</exception>
    public static async Task<T> WaitAsync<T>(Invocation invocation, TimeSpan patience, string what, Func<Task<T?>> ask)
        where T : class
    {
        var deadline = invocation.Host.Time.GetUtcNow() + patience;
        while (true)
        {
            if (await ask() is { } answer)
            {
                return answer;
            }

            if (invocation.Host.Time.GetUtcNow() >= deadline)
            {
                throw new CliException(ExitCodes.Refused, $"Waited in vain for {what}.", code: "timeout");
            }

            await Task.Delay(PollPause, invocation.Host.Time, invocation.Cancellation);
        }
    }

    private static string Requirement(RequestRequirement requirement) =>
        string.Create(CultureInfo.InvariantCulture, $"{requirement.Quorum} of {string.Join(" or ", requirement.AnyOf)}");
}
