using System.CommandLine;
using System.Globalization;
using Countersign.Approval.Contracts;
using Countersign.Cli.Output;
using Countersign.Cli.Server;

namespace Countersign.Cli.Commands;

/// <summary>Changes of what is enforced: each is a request that a second person approves (I3).</summary>
internal static class Changes
{
    public static Option<bool> WaitOption() => Arguments.Wait("Wait until it is in force; exit code 1 if it never will be.");

    public static Option<string?> ReasonOption(bool required = false) => new("--reason") { Description = "Why; the approver reads it.", HelpName = "TEXT", Required = required };

    /// <summary>Says what waits for whom, or waits until it is in force.</summary>
    public static async Task<int> FinishAsync(Invocation invocation, ChangeView change, bool wait, string? timeout)
    {
        if (!wait)
        {
            return invocation.Print(change, output => Show(output, change));
        }

        if (!invocation.Output.IsJson)
        {
            Show(invocation.Output, change);
        }

        var request = await Requests.WaitAsync(
            invocation, Arguments.Duration(timeout, TimeSpan.FromMinutes(30)), $"{change.RequestId} to be in force",
            async () => await Requests.GetAsync(invocation, change.RequestId) is { State: not (RequestState.Pending or RequestState.Approved) } now ? now : null);

        // The service that asked has redeemed it: that is the moment from which it is in force.
        var inForce = request.State == RequestState.Consumed;
        return invocation.Print(
            new { change.RequestId, change.Digest, change.Version, diff = change.Diff ?? change.Text, change.Link, state = Requests.StateName(request.State), inForce },
            output => output.Line(inForce ? "It is in force." : $"It will not come into force: the request is {Requests.StateName(request.State)}."),
            inForce ? ExitCodes.Ok : ExitCodes.Refused);
    }

    private static void Show(CliOutput output, ChangeView change)
    {
        if ((change.Diff ?? change.Text) is { Length: > 0 } readable)
        {
            output.Exact(readable.TrimEnd('\n'));
            output.Line();
        }

        output.Fields(
            ("request", change.RequestId),
            ("digest", change.Digest),
            ("version", change.Version?.ToString(CultureInfo.InvariantCulture)),
            ("link", change.Link));
        output.Line($"Nothing has changed yet: a second person runs 'countersign approve {change.RequestId}'.");
    }
}
