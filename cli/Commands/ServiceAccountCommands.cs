using System.CommandLine;

namespace Countersign.Cli.Commands;

/// <summary>service-accounts: make one.</summary>
internal static class ServiceAccountCommands
{
    public static Command Create(CommandFactory make)
    {
        var name = new Argument<string>("NAME") { Description = "Display name." };
        var owner = new Option<string[]>("--owner") { Description = "Another owner (person id) beside you; may be repeated.", HelpName = "PERSON" };
        var reason = Changes.ReasonOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        return CommandFactory.Group(
            "service-accounts", "Accounts of programs; they count as their owners.",
            make.New(
                "add", "Ask for a service account of yours; a second person approves.",
                invocation => Changes.AskAsync(
                    invocation, "identity/v1/service-accounts",
                    new { name = invocation.Get(name), owners = invocation.Get(owner) ?? [], reason = invocation.Get(reason) ?? "" },
                    invocation.Get(wait), invocation.Get(timeout)),
                name, owner, reason, wait, timeout));
    }
}
