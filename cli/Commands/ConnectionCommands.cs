using System.CommandLine;
using System.Globalization;
using Countersign.Policy.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>connections: list, add, remove.</summary>
internal static class ConnectionCommands
{
    public static Command Create(CommandFactory make)
    {
        var group = make.New("connections", "List the registered targets.", ListAsync);
        group.Add(make.New("list", "List the registered targets.", ListAsync));
        group.Add(AddConnectionCommand.Create(make));
        group.Add(Remove(make));
        return group;
    }

    private static async Task<int> ListAsync(Invocation invocation)
    {
        var connections = await invocation.Server.GetAsync<List<Connection>>("policy", "policy/v1/connections", invocation.Cancellation);
        return invocation.Print(connections, output => output.Table(
            ["name", "protocol", "address", "database", "tls", "labels"],
            connections.Select(connection => (IReadOnlyList<string>)
            [
                connection.Name,
                connection.Protocol,
                string.Create(CultureInfo.InvariantCulture, $"{connection.Host}:{connection.Port}"),
                connection.Database,
                connection.Tls,
                string.Join(", ", connection.Labels.OrderBy(label => label.Key, StringComparer.Ordinal).Select(label => $"{label.Key}={label.Value}")),
            ])));
    }

    private static Command Remove(CommandFactory make)
    {
        var name = new Argument<string>("NAME") { Description = "Connection." };
        var reason = Changes.ReasonOption();
        var atOnce = Changes.AtOnceOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        return make.New(
            "remove", "Ask for a connection to be removed; a second person approves.",
            invocation => Changes.AskAsync(
                invocation, new PolicyChangeRequest { RemovedConnections = [invocation.Get(name)], Reason = invocation.Get(reason) ?? "", AtOnce = invocation.Get(atOnce) },
                invocation.Get(wait), invocation.Get(timeout)),
            name, reason, atOnce, wait, timeout);
    }
}
