using System.CommandLine;
using Countersign.Identity.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>links: which accounts are one human. Every change is a request that a second person approves.</summary>
internal static class LinkCommands
{
    public static Command Create(CommandFactory make)
    {
        var group = make.New("links", "List which accounts are one human, and which look like it.", ListAsync);
        group.Add(make.New("list", "List which accounts are one human, and which look like it.", ListAsync));
        group.Add(Change(make, "add", "Ask for two persons to count as one human: neither can approve for the other then.", remove: false, distinct: false));
        group.Add(Change(make, "remove", "Ask for a link to be taken away: each can approve for the other then.", remove: true, distinct: false));
        group.Add(Change(make, "distinct", "Ask for two persons who look like one human to count as two; before that neither can be enrolled.", remove: false, distinct: true));
        return group;
    }

    private static Command Change(CommandFactory make, string name, string description, bool remove, bool distinct)
    {
        var person = new Argument<string>("PERSON") { Description = "Person id, or the name if only one has it." };
        var other = new Argument<string>("OTHER") { Description = "The other person: id or name." };
        var reason = Changes.ReasonOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        return make.New(
            name, $"{description} A second person approves.",
            async invocation => await PersonCommands.ChangeAsync(
                invocation, invocation.Get(person), "links",
                new { person = await PersonCommands.ResolveAsync(invocation, invocation.Get(other)), remove, distinct, reason = invocation.Get(reason) ?? "" },
                invocation.Get(wait), invocation.Get(timeout)),
            person, other, reason, wait, timeout);
    }

    private static async Task<int> ListAsync(Invocation invocation)
    {
        var persons = await PersonCommands.GetAsync(invocation);
        var names = persons.ToDictionary(person => person.Id, person => person.Name, StringComparer.Ordinal);
        string Who(IEnumerable<string> ids) => string.Join(", ", ids.Select(id => names.TryGetValue(id, out var name) ? $"{name} ({id})" : id));
        var shown = persons.Where(person => person.Links.Count > 0 || person.Suspected.Count > 0 || person.Kind == "service").ToList();
        return invocation.Print(
            shown.Select(person => new { person.Id, person.Name, person.Kind, person.Links, person.Owners, person.Team, person.Suspected }).ToList(),
            output =>
            {
                if (shown.Count == 0)
                {
                    output.Notice("No accounts are linked, none look like one human, and there are no service accounts.");
                    return;
                }

                output.Table(
                    ["id", "name", "one human with", "looks like", "owned by"],
                    shown.Select(person => (IReadOnlyList<string>)
                    [
                        person.Id,
                        person.Name,
                        Who(person.Links),
                        Who(person.Suspected),
                        string.Join(", ", (string[])[.. person.Owners.Count > 0 ? [Who(person.Owners)] : Array.Empty<string>(), .. person.Team.Length > 0 ? [$"team {person.Team}"] : Array.Empty<string>()]),
                    ]));
            });
    }
}
