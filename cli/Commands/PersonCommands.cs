using System.CommandLine;
using Countersign.Cli.Server;
using Countersign.Identity.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>persons: list, enrol, link, disable.</summary>
internal static class PersonCommands
{
    public static Command Create(CommandFactory make)
    {
        var group = make.New("persons", "List the persons that the server knows.", ListAsync);
        group.Add(make.New("list", "List the persons that the server knows.", ListAsync));
        var enrolled = Person();
        var reason = Changes.ReasonOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        group.Add(make.New(
            "enrol", "Ask for a person to be admitted as approver; a second person approves.",
            invocation => ChangeAsync(invocation, invocation.Get(enrolled), "enrolment", new { reason = invocation.Get(reason) ?? "" }, invocation.Get(wait), invocation.Get(timeout)),
            enrolled, reason, wait, timeout));

        var linked = Person();
        var other = new Argument<string>("OTHER") { Description = "The person who is the same human: id or name." };
        var linkReason = Changes.ReasonOption();
        var linkWait = Changes.WaitOption();
        var linkTimeout = Arguments.Timeout();
        group.Add(make.New(
            "link", "Say that two persons are the same human, so that neither approves for the other.",
            async invocation => await ChangeAsync(
                invocation, invocation.Get(linked), "links", new { person = await ResolveAsync(invocation, invocation.Get(other)), reason = invocation.Get(linkReason) ?? "" },
                invocation.Get(linkWait), invocation.Get(linkTimeout)),
            linked, other, linkReason, linkWait, linkTimeout));

        var disabled = Person();
        group.Add(make.New("disable", "Take everything from a person, at once.", invocation => DisableAsync(invocation, invocation.Get(disabled)), disabled));
        return group;
    }

    private static Argument<string> Person() => new("PERSON") { Description = "Person id, or the name if only one has it." };

    private static Task<List<PersonView>> GetAsync(Invocation invocation) =>
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

    private static async Task<string> ResolveAsync(Invocation invocation, string text)
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

    private static async Task<int> ChangeAsync(Invocation invocation, string person, string what, object body, bool wait, string? timeout)
    {
        var id = await ResolveAsync(invocation, person);
        var change = await invocation.Server.PostAsync<object, ChangeView>(
            "identity", $"identity/v1/persons/{Uri.EscapeDataString(id)}/{what}", body, invocation.Cancellation);
        return await Changes.FinishAsync(invocation, change, wait, timeout);
    }

    private static async Task<int> DisableAsync(Invocation invocation, string person)
    {
        var id = await ResolveAsync(invocation, person);
        await invocation.Server.PostAsync<object>("identity", $"identity/v1/persons/{Uri.EscapeDataString(id)}/disable", new { }, invocation.Cancellation);
        return invocation.Print(new { person = id, disabled = true }, output => output.Line($"{person} is disabled; sessions end within seconds."));
    }
}
