using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Countersign.Cli.Output;
using Countersign.Cli.Server;
using Countersign.Recorder.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>sessions, operations and replay.</summary>
internal static class RecordingCommands
{
    public static IEnumerable<Command> Create(CommandFactory make)
    {
        yield return Sessions(make);
        yield return Operations(make);
        var id = new Argument<string>("SESSION") { Description = "Session id, ses_…" };
        yield return make.New(
            "replay", "Show a session as it went: what was run, decided, approved and answered.", invocation => ReplayAsync(invocation, invocation.Get(id)), id);
    }

    private static Command Sessions(CommandFactory make)
    {
        var (person, connection, from, to, limit) = Filters();
        return make.New("sessions", "List recorded sessions.", async invocation =>
        {
            var sessions = await invocation.Server.GetAsync<List<SessionView>>("recorder", CountersignServer.Query(
                "recorder/v1/sessions",
                ("person", await PersonAsync(invocation, invocation.Get(person))), ("connection", invocation.Get(connection)),
                ("from", Arguments.Time(invocation.Get(from), invocation.Host.Time)), ("to", Arguments.Time(invocation.Get(to), invocation.Host.Time)),
                ("limit", invocation.Get(limit)?.ToString(CultureInfo.InvariantCulture))), invocation.Cancellation);
            return invocation.Print(sessions, output => output.Table(
                ["session", "started", "ended", "person", "connection", "client", "operations"],
                sessions.Select(session => (IReadOnlyList<string>)
                [
                    session.Id,
                    CliOutput.Time(session.StartedAt),
                    session.EndedAt is null ? "open" : $"{CliOutput.Time(session.EndedAt)} ({session.EndReason})",
                    session.Name,
                    $"{session.Connection}/{session.Database}",
                    session.Client,
                    session.Operations.ToString(CultureInfo.InvariantCulture),
                ])));
        }, person, connection, from, to, limit);
    }

    private static Command Operations(CommandFactory make)
    {
        var (person, connection, from, to, limit) = Filters();
        var text = new Option<string?>("--text") { Description = "Those whose text has this in it.", HelpName = "TEXT" };
        var decision = new Option<string?>("--decision") { Description = "allow, deny or approved.", HelpName = "DECISION" };
        decision.AcceptOnlyFromAmong("allow", "deny", "approved");
        var approver = new Option<string?>("--approver") { Description = "Those that this person approved; 'me' for yourself.", HelpName = "PERSON" };
        return make.New("operations", "Search recorded operations.", async invocation =>
        {
            var operations = await invocation.Server.GetAsync<List<OperationView>>("recorder", CountersignServer.Query(
                "recorder/v1/operations",
                ("person", await PersonAsync(invocation, invocation.Get(person))), ("connection", invocation.Get(connection)), ("text", invocation.Get(text)),
                ("decision", invocation.Get(decision)), ("approver", await PersonAsync(invocation, invocation.Get(approver))),
                ("from", Arguments.Time(invocation.Get(from), invocation.Host.Time)), ("to", Arguments.Time(invocation.Get(to), invocation.Host.Time)),
                ("limit", invocation.Get(limit)?.ToString(CultureInfo.InvariantCulture))), invocation.Cancellation);
            return invocation.Print(operations, output => output.Table(
                ["at", "person", "connection", "decision", "approved by", "outcome", "rows", "text"],
                operations.Select(operation => (IReadOnlyList<string>)
                [
                    CliOutput.Time(operation.At),
                    operation.Name,
                    operation.Connection,
                    operation.Decision,
                    string.Join(", ", operation.Approvers.Select(by => by.Name)),
                    operation.ErrorCode is null ? operation.Outcome ?? "" : $"{operation.Outcome} {operation.ErrorCode}",
                    operation.Rows?.ToString(CultureInfo.InvariantCulture) ?? "",
                    CliOutput.Brief(operation.Text),
                ])));
        }, person, connection, text, decision, approver, from, to, limit);
    }

    private static (Option<string?> Person, Option<string?> Connection, Option<string?> From, Option<string?> To, Option<int?> Limit) Filters() => (
        new("--person") { Description = "Of this person (id); 'me' for yourself.", HelpName = "PERSON" },
        new("--connection") { Description = "On this connection.", HelpName = "NAME" },
        Arguments.From(), Arguments.To(), Arguments.Limit());

    private static async Task<string?> PersonAsync(Invocation invocation, string? person) =>
        person == "me" ? (await invocation.OwnClaimsAsync()).Person : person;

    private static async Task<int> ReplayAsync(Invocation invocation, string session)
    {
        using var response = await invocation.Server.GetStreamedAsync(
            "recorder", $"recorder/v1/sessions/{Uri.EscapeDataString(session)}/entries", invocation.Cancellation);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(invocation.Cancellation));
        var transcript = new Transcript(invocation.Output);
        while (await reader.ReadLineAsync(invocation.Cancellation) is { } line)
        {
            if (line.Length == 0)
            {
                continue;
            }

            using var entry = Parse(line);
            if (invocation.Output.IsJson)
            {
                // Parsed and written again, so that what a terminal shows is plain ASCII.
                invocation.Output.JsonLine(entry.RootElement);
            }
            else
            {
                transcript.Add(entry.RootElement);
            }
        }

        return ExitCodes.Ok;
    }

    private static JsonDocument Parse(string line)
    {
        try
        {
            return JsonDocument.Parse(line);
        }
        catch (JsonException error)
        {
            throw new CliException(ExitCodes.Unavailable, "The recording is not understood.", code: "bad-answer", inner: error);
        }
    }
}
