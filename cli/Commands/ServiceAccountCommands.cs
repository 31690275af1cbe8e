using System.CommandLine;

namespace Countersign.Cli.Commands;

/// <summary>service-accounts: make one, set its owners.</summary>
internal static class ServiceAccountCommands
{
    public static Command Create(CommandFactory make)
    {
        var name = new Argument<string>("NAME") { Description = "Display name." };
        var owner = new Option<string[]>("--owner") { Description = "Another owner (person id) beside you; may be repeated.", HelpName = "PERSON" };
        var team = Team();
        var reason = Changes.ReasonOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        return CommandFactory.Group(
            "service-accounts", "Accounts of programs; they count as their owners.",
            make.New(
                "add", "Ask for a service account of yours; a second person approves.",
                invocation => Changes.AskAsync(
                    invocation, "identity/v1/service-accounts",
                    new { name = invocation.Get(name), owners = invocation.Get(owner) ?? [], team = invocation.Get(team), reason = invocation.Get(reason) ?? "" },
                    invocation.Get(wait), invocation.Get(timeout)),
                name, owner, team, reason, wait, timeout),
            Owners(make));
    }

    private static Command Owners(CommandFactory make)
    {
        var account = new Argument<string>("ACCOUNT") { Description = "Person id of the service account, or its name if only one has it." };
        var owner = new Option<string[]>("--owner") { Description = "Owner from now on (person id or name); may be repeated. All owners are named anew.", HelpName = "PERSON", Required = true };
        var team = Team();
        var reason = Changes.ReasonOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        return make.New(
            "owners", "Ask for a service account to have other owners; a second person approves.",
            async invocation =>
            {
                var owners = new List<string>();
                foreach (var name in invocation.Get(owner)!)
                {
                    owners.Add(await PersonCommands.ResolveAsync(invocation, name));
                }

                var id = await PersonCommands.ResolveAsync(invocation, invocation.Get(account));
                return await Changes.AskAsync(
                    invocation, $"identity/v1/service-accounts/{Uri.EscapeDataString(id)}/owners",
                    new { owners, team = invocation.Get(team), reason = invocation.Get(reason) ?? "" }, invocation.Get(wait), invocation.Get(timeout));
            },
            account, owner, team, reason, wait, timeout);
    }

    private static Option<string?> Team() => new("--team") { Description = "Group of the provider whose members all own it too.", HelpName = "GROUP" };
}
