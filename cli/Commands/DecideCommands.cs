using System.CommandLine;
using System.Security.Cryptography;
using System.Text;
using Countersign.Approval.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>approve, deny and withdraw. What is decided is what was shown: the digest sent back is the one of the request that was printed.</summary>
internal static class DecideCommands
{
    public static IEnumerable<Command> Create(CommandFactory make)
    {
        yield return Decision(make, "approve", "Agree that it may happen, once, exactly as shown.", approve: true);
        yield return Decision(make, "deny", "Refuse it; says why with --comment.", approve: false);

        var id = new Argument<string>("ID") { Description = "Request id, apr_…" };
        yield return make.New("withdraw", "Take back a request of your own.", invocation => WithdrawAsync(invocation, invocation.Get(id)), id);
    }

    private static Command Decision(CommandFactory make, string name, string description, bool approve)
    {
        var id = new Argument<string>("ID") { Description = "Request id, apr_…" };
        var comment = new Option<string?>("--comment") { Description = approve ? "For the record." : "Why not; for the requester and the record.", HelpName = "TEXT" };
        var yes = new Option<bool>("--yes") { Description = "Don't ask; what is decided is printed all the same." };
        var digest = new Option<string?>("--digest") { Description = "Only if this is still the request's digest.", HelpName = "HEX" };
        return make.New(
            name, description, invocation => DecideAsync(invocation, approve, invocation.Get(id), invocation.Get(comment), invocation.Get(yes), invocation.Get(digest)),
            id, comment, yes, digest);
    }

    private static async Task<int> DecideAsync(Invocation invocation, bool approve, string id, string? comment, bool yes, string? digest)
    {
        var verb = approve ? "approve" : "deny";
        if (!approve && string.IsNullOrWhiteSpace(comment))
        {
            throw CliException.Usage("A denial says why.", "Add --comment 'why not'");
        }

        if (!yes && (!invocation.Host.InputIsTerminal || invocation.Output.IsJson))
        {
            throw CliException.Usage("There is nobody to ask: stdin is not a terminal, or --output is json.", $"Look at it with 'countersign request show {id}', then add --yes.");
        }

        var request = await Requests.GetAsync(invocation, id);
        if (!Requests.DigestBelongs(request))
        {
            throw new CliException(ExitCodes.Refused, $"The digest of {id} does not belong to the operations that the server shows, so nothing is decided.", code: "digest-mismatch");
        }

        if (digest is not null && !CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(digest), Encoding.UTF8.GetBytes(request.Digest)))
        {
            throw new CliException(ExitCodes.Refused, $"{id} has the digest {request.Digest}, not the one given.", "Look at it again with: countersign request show", "other-digest");
        }

        if (!invocation.Output.IsJson)
        {
            Requests.Show(invocation.Output, request);
        }

        if (!Requests.IsOpen(request.State))
        {
            throw new CliException(ExitCodes.Refused, $"{id} can't be decided any more: it is {Requests.StateName(request.State)}.", code: "not-pending");
        }

        if (!yes && !await ConfirmAsync(invocation, verb))
        {
            throw new CliException(ExitCodes.Refused, "Nothing was decided.", code: "not-confirmed");
        }

        var decided = await invocation.Server.PostAsync<DecideRequest, RequestView>(
            "approval", $"approval/v1/requests/{Uri.EscapeDataString(id)}/{verb}", new DecideRequest(request.Digest, comment ?? ""), invocation.Cancellation);
        return invocation.Print(decided, output =>
        {
            output.Line();
            output.Line(decided.State == RequestState.Pending ? $"You have agreed to {id}; it waits for others too." : $"{id} is {Requests.StateName(decided.State)}.");
        });
    }

    private static async Task<bool> ConfirmAsync(Invocation invocation, string verb)
    {
        invocation.Host.Out.Write($"\nType '{verb}' to {verb} exactly this: ");
        var answer = await invocation.Host.In.ReadLineAsync(invocation.Cancellation);
        return string.Equals(answer?.Trim(), verb, StringComparison.OrdinalIgnoreCase);
    }

    private static async Task<int> WithdrawAsync(Invocation invocation, string id)
    {
        var request = await invocation.Server.PostAsync<WithdrawRequest, RequestView>(
            "approval", $"approval/v1/requests/{Uri.EscapeDataString(id)}/withdraw", new WithdrawRequest(), invocation.Cancellation);
        return invocation.Print(request, output => output.Line($"{request.Id} is {Requests.StateName(request.State)}."));
    }
}
