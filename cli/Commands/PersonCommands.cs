using System.CommandLine;
using Countersign.Cli.Server;
using Countersign.Identity.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>persons: list, enrol, unenrol, link, unlink, disable, enable.</summary>
internal static class PersonCommands
{
    public static Command Create(CommandFactory make)
    {
        var group = make.New("persons", "List the persons that the server knows.", ListAsync);
        group.Add(make.New("list", "List the persons that the server knows.", ListAsync));
        group.Add(Change(make, "enrol", "Ask for a person to be admitted as approver; a second person approves.", "enrolment"));
        group.Add(Unenrol(make));
        group.Add(Link(make, "link", "Ask for two persons to count as the same human, so that neither approves for the other; a second person approves.", remove: false));
        group.Add(Link(make, "unlink", "Ask for a link to be taken away; a second person approves.", remove: true));
        group.Add(Disable(make));
        group.Add(Change(make, "enable", "Ask for a disabled person to be let in again; a second person approves.", "enable"));
        return group;
    }

    private static Command Change(CommandFactory make, string name, string description, string what)
    {
        var person = Person();
        var reason = Changes.ReasonOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        return make.New(
            name, description,
            invocation => ChangeAsync(invocation, invocation.Get(person), what, new { reason = invocation.Get(reason) ?? "" }, invocation.Get(wait), invocation.Get(timeout)),
            person, reason, wait, timeout);
    }

    private static Command Link(CommandFactory make, string name, string description, bool remove)
    {
        var person = Person();
        var other = new Argument<string>("OTHER") { Description = "The other person: id or name." };
        var reason = Changes.ReasonOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        return make.New(
            name, description,
            async invocation => await ChangeAsync(
                invocation, invocation.Get(person), "links",
                new { person = await ResolveAsync(invocation, invocation.Get(other)), remove, reason = invocation.Get(reason) ?? "" },
                invocation.Get(wait), invocation.Get(timeout)),
            person, other, reason, wait, timeout);
    }

    private static Command Unenrol(CommandFactory make)
    {
        var person = Person();
        var reason = Changes.ReasonOption();
        return make.New("unenrol", "Take only the right to decide from a person, at once; somebody else reviews it.", async invocation =>
        {
            var id = await ResolveAsync(invocation, invocation.Get(person));
            await invocation.Server.DeleteAsync(
                "identity", CountersignServer.Query($"identity/v1/persons/{Uri.EscapeDataString(id)}/enrolment", ("reason", invocation.Get(reason))), invocation.Cancellation);
            return invocation.Print(new { person = id, enrolled = false }, output => output.Line($"{invocation.Get(person)} can't decide requests any more."));
        }, person, reason);
    }

    private static Command Disable(CommandFactory make)
    {
        var person = Person();
        var reason = Changes.ReasonOption();
        return make.New("disable", "Take everything from a person and all accounts linked with them, at once; somebody else reviews it.", async invocation =>
        {
            var id = await ResolveAsync(invocation, invocation.Get(person));
            await invocation.Server.PostAsync<object>(
                "identity", $"identity/v1/persons/{Uri.EscapeDataString(id)}/disable", new { reason = invocation.Get(reason) ?? "" }, invocation.Cancellation);
            return invocation.Print(new { person = id, disabled = true }, output => output.Line($"{invocation.Get(person)} is disabled; sessions end within seconds."));
        }, person, reason);
    }

    private static Argument<string> Person() => new("PERSON") { Description = "Person id, or the name if only one has it." };

    public static Task<List<PersonView>> GetAsync(Invocation invocation) =>
        invocation.Server.GetAsync<List<PersonView>>("identity", "identity/v1/persons", invocation.Cancellation);

    private static async Task<int> ListAsync(Invocation invocation)
    {
        var persons = await GetAsync(invocation);
        return invocation.Print(persons, output => output.Table(
            ["id", "name", "approver", "state", "principals"],
            persons.Select(person => (IReadOnlyList<string>)
            [
                person.Id,
                person.Name,
                person.Enrolled ? "enrolled" : "no",
                person.Disabled ? "disabled" : "active",
                string.Join(", ", person.Principals),
            ])));
    }

    public static async Task<string> ResolveAsync(Invocation invocation, string text)
    {
        if (text.StartsWith("per_", StringComparison.Ordinal))
        {
            return text;
        }

        // A name is the person's own claim, so one that several have decides nothing.
        var named = (await GetAsync(invocation)).Where(person => string.Equals(person.Name, text, StringComparison.Ordinal)).ToList();
        return named switch
        {
            [var one] => one.Id,
            [] => throw new CliException(ExitCodes.Refused, $"Nobody is called '{text}'.", "Has the person logged in once? See: countersign persons", "unknown-person"),
            _ => throw new CliException(ExitCodes.Refused, $"{named.Count} persons are called '{text}'.", "Give the person id.", "ambiguous-person"),
        };
    }

    public static async Task<int> ChangeAsync(Invocation invocation, string person, string what, object body, bool wait, string? timeout)
    {
        var id = await ResolveAsync(invocation, person);
        return await Changes.AskAsync(invocation, $"identity/v1/persons/{Uri.EscapeDataString(id)}/{what}", body, wait, timeout);
    }
}
