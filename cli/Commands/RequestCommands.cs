using System.CommandLine;
using Countersign.Approval.Contracts;
using Countersign.Cli.Server;

namespace Countersign.Cli.Commands;

/// <summary>requests, request show, request wait.</summary>
internal static class RequestCommands
{
    public static IEnumerable<Command> Create(CommandFactory make)
    {
        var toDecide = new Option<bool>("--to-decide") { Description = "Those that wait for you (default)." };
        var mine = new Option<bool>("--mine") { Description = "Those that you made." };
        var all = new Option<bool>("--all") { Description = "All that you may see." };
        var state = new Option<string?>("--state") { Description = "Only those in this state.", HelpName = "STATE" };
        state.AcceptOnlyFromAmong([.. Enum.GetValues<RequestState>().Select(Requests.StateName)]);
        var wait = Arguments.Wait("Wait until there is one.");
        var timeout = Arguments.Timeout();
        yield return make.New(
            "requests", "List approval requests.",
            invocation => ListAsync(invocation, Filter(invocation.Get(toDecide), invocation.Get(mine), invocation.Get(all)), invocation.Get(state), invocation.Get(wait), invocation.Get(timeout)),
            toDecide, mine, all, state, wait, timeout);

        var shown = new Argument<string>("ID") { Description = "Request id, apr_…" };
        var waited = new Argument<string>("ID") { Description = "Request id, apr_…" };
        var waitTimeout = Arguments.Timeout();
        var explained = new Argument<string>("ID") { Description = "Request id, apr_…" };
        var reason = new Argument<string>("REASON") { Description = "Why you need it; the approvers read it." };
        var revoked = new Argument<string>("ID") { Description = "Request id, apr_…" };
        var comment = new Option<string?>("--comment") { Description = "For the record.", HelpName = "TEXT" };
        var request = CommandFactory.Group(
            "request", "Ask for an approval ahead of time; or show one, wait for its decision, give a reason, revoke it.",
            make.New("show", "Show exactly what is asked for.", invocation => ShowAsync(invocation, invocation.Get(shown)), shown),
            make.New("wait", "Wait until it is decided; exit code 1 if it was not approved.", invocation => WaitAsync(invocation, invocation.Get(waited), invocation.Get(waitTimeout)), waited, waitTimeout),
            make.New(
                "reason", "Give the reason for a request of yours.",
                invocation => ActAsync(invocation, invocation.Get(explained), "reason", new ExplainRequest(invocation.Get(reason))), explained, reason),
            make.New(
                "revoke", "Take back an approval; what runs under it ends.",
                invocation => ActAsync(invocation, invocation.Get(revoked), "revoke", new RevokeRequest(invocation.Get(comment) ?? "")), revoked, comment));
        AheadCommands.AddTo(request, make);
        yield return request;
    }

    private static string Filter(bool toDecide, bool mine, bool all) => (toDecide, mine, all) switch
    {
        (_, false, false) => "to-decide",
        (false, true, false) => "mine",
        (false, false, true) => "all",
        _ => throw CliException.Usage("--to-decide, --mine and --all exclude one another."),
    };

    private static async Task<int> ListAsync(Invocation invocation, string filter, string? state, bool wait, string? timeout)
    {
        var path = CountersignServer.Query("approval/v1/requests", ("filter", filter), ("state", state));
        Task<List<RequestView>> AskAsync() => invocation.Server.GetAsync<List<RequestView>>("approval", path, invocation.Cancellation);
        var requests = !wait
            ? await AskAsync()
            : await Requests.WaitAsync(invocation, Arguments.Duration(timeout, TimeSpan.FromMinutes(30)), "a request", async () => await AskAsync() is { Count: > 0 } some ? some : null);
        return invocation.Print(requests, output =>
        {
            if (requests.Count == 0)
            {
                output.Notice(filter == "to-decide" ? "Nothing waits for you." : "There are none.");
                return;
            }

            Requests.List(output, requests);
        });
    }

    private static async Task<int> ShowAsync(Invocation invocation, string id)
    {
        var request = await Requests.GetAsync(invocation, id);
        return invocation.Print(request, output => Requests.Show(output, request));
    }

    private static async Task<int> ActAsync<T>(Invocation invocation, string id, string verb, T body)
    {
        var request = await invocation.Server.PostAsync<T, RequestView>(
            "approval", $"approval/v1/requests/{Uri.EscapeDataString(id)}/{verb}", body, invocation.Cancellation);
        return invocation.Print(request, output => output.Line($"{request.Id} is {Requests.StateName(request.State)}."));
    }

    private static async Task<int> WaitAsync(Invocation invocation, string id, string? timeout)
    {
        var request = await Requests.WaitAsync(
            invocation, Arguments.Duration(timeout, TimeSpan.FromMinutes(30)), $"a decision on {id}",
            async () => await Requests.GetAsync(invocation, id) is { } now && !Requests.IsOpen(now.State) ? now : null);
        return invocation.Print(
            request, output => output.Line($"{request.Id} is {Requests.StateName(request.State)}."), Requests.IsGood(request.State) ? ExitCodes.Ok : ExitCodes.Refused);
    }
}
