using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Countersign.Cli.Output;
using Countersign.Cli.Server;

namespace Countersign.Cli.Commands;

/// <summary>dead-letters: events that a service could not handle, and what to do about them. For enrolled persons; every replay is recorded.</summary>
internal static class DeadLetterCommands
{
    private static readonly string[] Services = ["identity", "policy", "approval", "recorder", "proxy"];

    public static Command Create(CommandFactory make)
    {
        var service = Of();
        var group = make.New("dead-letters", "List events that services could not handle.", invocation => ListAsync(invocation, invocation.Get(service)), service);
        var listed = Of();
        group.Add(make.New("list", "List events that services could not handle.", invocation => ListAsync(invocation, invocation.Get(listed)), listed));
        group.Add(Show(make));
        group.Add(Replay(make));
        group.Add(Discard(make));
        return group;
    }

    private static Option<string?> Of()
    {
        var service = new Option<string?>("--service") { Description = "Only those of one service.", HelpName = "SERVICE" };
        service.AcceptOnlyFromAmong(Services);
        return service;
    }

    private static Argument<string> Service()
    {
        var service = new Argument<string>("SERVICE") { Description = "Whose it is: " + string.Join(", ", Services) };
        service.AcceptOnlyFromAmong(Services);
        return service;
    }

    private static Argument<string> Id() => new("ID") { Description = "Id as the list shows it, TOPIC:EVENT" };

    private static Command Show(CommandFactory make)
    {
        var (service, id) = (Service(), Id());
        return make.New("show", "Show one, with what it said.", async invocation =>
        {
            var (of, which) = (invocation.Get(service), invocation.Get(id));
            var letter = await invocation.Server.GetAsync<DeadLetter>(of, CountersignServer.Query($"{of}/v1/dead-letters/letter", ("id", which)), invocation.Cancellation);
            return invocation.Print(new ListedLetter(of, letter), output =>
            {
                output.Fields(
                    ("service", of), ("id", letter.Id), ("type", letter.Type), ("since", CliOutput.Time(letter.At)), ("reason", letter.Reason),
                    ("bytes", letter.Bytes.ToString(CultureInfo.InvariantCulture)));
                output.Line();
                output.Exact(CliJson.Print(letter.Data ?? default(JsonElement), indented: true));
            });
        }, service, id);
    }

    private static Command Replay(CommandFactory make)
    {
        var (service, id) = (Service(), new Argument<string?>("ID") { Description = "Id as the list shows it, TOPIC:EVENT", Arity = ArgumentArity.ZeroOrOne });
        var all = new Option<bool>("--all") { Description = "All of the service, the oldest first." };
        return make.New("replay", "Hand one to its service again, under the id that it had; where that succeeds it is gone.", async invocation =>
        {
            var of = invocation.Get(service);
            if (invocation.Get(all) == (invocation.Get(id) is not null))
            {
                throw CliException.Usage("Say which one.", "Give an ID, or --all.");
            }

            var ids = invocation.Get(id) is { } one ? [one] : (await LettersAsync(invocation, of)).Select(letter => letter.Id).ToList();
            var replayed = new List<ReplayedLetter>();
            foreach (var each in ids)
            {
                replayed.Add(await ReplayAsync(invocation, of, each));
            }

            return invocation.Print(
                replayed,
                output =>
                {
                    foreach (var each in replayed)
                    {
                        output.Line(each.Handled ? $"{each.Service} handled {each.Id}." : $"{each.Service} could not handle {each.Id}, which stays: {each.Reason}");
                    }

                    if (replayed.Count == 0)
                    {
                        output.Notice($"{of} has no dead letters.");
                    }
                },
                replayed.All(each => each.Handled) ? ExitCodes.Ok : ExitCodes.Refused);
        }, service, id, all);
    }

    private static Command Discard(CommandFactory make)
    {
        var (service, id) = (Service(), Id());
        return make.New("discard", "Forget one for good. Audit events can't be forgotten.", async invocation =>
        {
            var (of, which) = (invocation.Get(service), invocation.Get(id));
            await invocation.Server.DeleteAsync(of, CountersignServer.Query($"{of}/v1/dead-letters", ("id", which)), invocation.Cancellation);
            return invocation.Print(new { service = of, id = which, discarded = true }, output => output.Line($"{which} of {of} is gone."));
        }, service, id);
    }

    private static async Task<ReplayedLetter> ReplayAsync(Invocation invocation, string service, string id)
    {
        try
        {
            await invocation.Server.PostAsync(service, CountersignServer.Query($"{service}/v1/dead-letters/replay", ("id", id)), new { }, invocation.Cancellation);
            return new ReplayedLetter(service, id, true, null);
        }
        catch (CliException error) when (error.Code == "not-handled")
        {
            return new ReplayedLetter(service, id, false, error.Message);
        }
    }

    private static Task<List<DeadLetter>> LettersAsync(Invocation invocation, string service) =>
        invocation.Server.GetAsync<List<DeadLetter>>(service, $"{service}/v1/dead-letters", invocation.Cancellation);

    private static async Task<int> ListAsync(Invocation invocation, string? only)
    {
        var found = new List<ListedLetter>();
        foreach (var service in only is null ? Services : [only])
        {
            found.AddRange((await LettersAsync(invocation, service)).Select(letter => new ListedLetter(service, letter)));
        }

        return invocation.Print(found, output =>
        {
            if (found.Count == 0)
            {
                output.Notice("There are no dead letters.");
                return;
            }

            output.Table(
                ["id", "service", "type", "since", "reason", "bytes"],
                found.Select(each => (IReadOnlyList<string>)
                [
                    each.Letter.Id, each.Service, each.Letter.Type, CliOutput.Time(each.Letter.At), each.Letter.Reason, each.Letter.Bytes.ToString(CultureInfo.InvariantCulture),
                ]));
        });
    }
}
