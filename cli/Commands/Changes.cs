using System.CommandLine;
using System.Globalization;
using Countersign.Approval.Contracts;
using Countersign.Cli.Output;
using Countersign.Cli.Server;
using Countersign.Policy.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>Changes of what is enforced: each is a request that a second person approves (I3).</summary>
internal static class Changes
{
    public static Option<bool> WaitOption() => Arguments.Wait("Wait until it is in force; exit code 1 if it never will be.");

    public static Option<string?> ReasonOption(bool required = false) => new("--reason") { Description = "Why; the approver reads it.", HelpName = "TEXT", Required = required };

    public static Option<bool> AtOnceOption() => new("--at-once")
    {
        Description = "Put it into force now, alone: only for a change that takes access away. Somebody else reviews it.",
    };

    /// <summary>Asks policy for a change, says what waits for whom, and waits until it is in force where that is wanted.</summary>
    public static async Task<int> AskAsync(Invocation invocation, PolicyChangeRequest ask, bool wait, string? timeout)
    {
        var change = await invocation.Server.PostAsync<PolicyChangeRequest, PolicyChangeResult>("policy", "policy/v1/changes", ask, invocation.Cancellation);
        if (change.InForce)
        {
            return invocation.Print(
                new { change.RequestId, change.Digest, change.Version, change.Diff, change.Link, state = "active", inForce = true },
                output =>
                {
                    output.Exact(change.Diff.TrimEnd('\n'));
                    output.Line();
                    output.Line(string.Create(CultureInfo.InvariantCulture, $"Version {change.Version} is in force. Somebody else reviews it: countersign reviews close {change.RequestId}"));
                });
        }

        return await FinishAsync(invocation, new Change(change.RequestId, change.Digest, change.Version, change.Diff, change.Link), wait, timeout, async () =>
        {
            var now = await invocation.Server.GetAsync<PolicyChangeView>(
                "policy", $"policy/v1/changes/{Uri.EscapeDataString(change.RequestId)}", invocation.Cancellation);
            return now.State == "pending" ? null : new End(now.State, now.State == "active", now.Problem);
        });
    }

    /// <summary>The same for a change of persons.</summary>
    public static async Task<int> AskAsync<T>(Invocation invocation, string path, T body, bool wait, string? timeout)
    {
        var change = await invocation.Server.PostAsync<T, PersonChange>("identity", path, body, invocation.Cancellation);
        return await FinishAsync(invocation, new Change(change.RequestId, change.Digest, null, change.Text, change.Link), wait, timeout, async () =>
        {
            // Identity redeems the grant when it applies the change: that is the moment from which it is in force.
            var now = await Requests.GetAsync(invocation, change.RequestId);
            return now.State is RequestState.Pending or RequestState.Approved ? null : new End(Requests.StateName(now.State), now.State == RequestState.Consumed, "");
        });
    }

    private static async Task<int> FinishAsync(Invocation invocation, Change change, bool wait, string? timeout, Func<Task<End?>> ask)
    {
        if (!wait)
        {
            var alone = !invocation.Output.IsJson && await MayActAloneAsync(invocation);
            return invocation.Print(change, output => Show(output, change, alone));
        }

        if (!invocation.Output.IsJson)
        {
            Show(invocation.Output, change, await MayActAloneAsync(invocation));
        }

        var end = await Requests.WaitAsync(invocation, Arguments.Duration(timeout, TimeSpan.FromMinutes(30)), $"{change.RequestId} to be in force", ask);
        return invocation.Print(
            new { change.RequestId, change.RequestDigest, change.Digest, change.Version, change.Diff, change.Link, state = end.State, inForce = end.InForce, problem = end.Problem },
            output => output.Line(end.InForce ? "It is in force." : $"It will not come into force: {end.State}. {end.Problem}".TrimEnd()),
            end.InForce ? ExitCodes.Ok : ExitCodes.Refused);
    }

    private static void Show(CliOutput output, Change change, bool alone)
    {
        output.Exact(change.Diff.TrimEnd('\n'));
        output.Line();
        output.Fields(
            ("request", change.RequestId),
            ("request digest", change.RequestDigest),
            ("change digest", change.Digest),
            ("version", change.Version?.ToString(CultureInfo.InvariantCulture)),
            ("link", change.Link));
        output.Line(alone
            ? $"Nothing has changed yet: nobody else is enrolled, so approve it yourself with 'countersign approve {change.RequestId}'."
            : $"Nothing has changed yet: a second person runs 'countersign approve {change.RequestId}'.");
    }

    // A cached token may be of before somebody else was enrolled: only a fresh one is believed.
    private static async Task<bool> MayActAloneAsync(Invocation invocation)
    {
        if (!(await invocation.OwnClaimsAsync()).Bootstrap)
        {
            return false;
        }

        await invocation.Tokens.RenewAsync(invocation.Cancellation);
        return (await invocation.OwnClaimsAsync()).Bootstrap;
    }

    /// <summary>A change as it is printed.</summary>
    private sealed record Change(string RequestId, string Digest, long? Version, string Diff, string Link)
    {
        /// <summary>What an approver sends back: 'approve --digest'.</summary>
        public string RequestDigest => Approval.Contracts.RequestDigest.Compute([Digest]);
    }

    /// <summary>What became of it.</summary>
    private sealed record End(string State, bool InForce, string Problem);
}
