using System.CommandLine;
using System.Globalization;
using Countersign.Approval.Contracts;
using Countersign.Cli.Output;
using Countersign.Cli.Server;
using Countersign.Policy.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>request CONNECTION: asks ahead of time, for statements or for an access window. break-glass: goes ahead alone.</summary>
internal static class AheadCommands
{
    private const int LargestFile = 1024 * 1024;

    /// <summary>Makes <c>request</c> itself do the asking.</summary>
    public static void AddTo(Command request, CommandFactory make)
    {
        var connection = new Argument<string?>("CONNECTION[/DATABASE]") { Description = "Where it is to run.", Arity = ArgumentArity.ZeroOrOne };
        var file = new Option<string?>("--file", "-f") { Description = "A file as 'psql -f' would run it; - for stdin.", HelpName = "FILE" };
        var sql = new Option<string?>("--sql") { Description = "One operation, as 'psql -c' would send it.", HelpName = "TEXT" };
        var window = new Option<string?>("--window") { Description = "An access window of this length, from its first use, e.g. 1h.", HelpName = "DURATION" };
        var statements = new Option<string?>("--statements") { Description = "Kinds of statements in the window: UPDATE,DELETE.", HelpName = "TAGS" };
        var relations = new Option<string?>("--relations") { Description = "Relations in the window, with their schemas: public.orders,public.items.", HelpName = "NAMES" };
        var reason = new Option<string?>("--reason") { Description = "Why; the approvers read it.", HelpName = "TEXT" };
        var extends = new Option<string?>("--extends") { Description = "An approved request of yours that is to last longer; ask with the same file, text or window.", HelpName = "ID" };
        var wait = Arguments.Wait("Wait until it is decided; exit code 1 if it was not approved.");
        var timeout = Arguments.Timeout();
        make.Add(
            request,
            invocation => AskAsync(
                invocation,
                new Asked(
                    invocation.Get(connection), invocation.Get(file), invocation.Get(sql), invocation.Get(window), invocation.Get(statements), invocation.Get(relations),
                    invocation.Get(reason), invocation.Get(extends)),
                invocation.Get(wait), invocation.Get(timeout)),
            connection, file, sql, window, statements, relations, reason, extends, wait, timeout);
    }

    public static Command BreakGlass(CommandFactory make)
    {
        var id = new Argument<string>("ID") { Description = "Request id of yours, apr_…" };
        var reason = new Option<string?>("--reason") { Description = "Why it can't wait; everybody reads it.", HelpName = "TEXT" };
        var yes = new Option<bool>("--yes") { Description = "Don't ask; what will run is printed all the same." };
        return make.New(
            "break-glass", "Go ahead alone with a request of yours, where the policy lets you. Alerts at once; somebody else must review it.",
            invocation => BreakGlassAsync(invocation, invocation.Get(id), invocation.Get(reason), invocation.Get(yes)), id, reason, yes);
    }

    private static async Task<int> AskAsync(Invocation invocation, Asked asked, bool wait, string? timeout)
    {
        if (string.IsNullOrEmpty(asked.Connection))
        {
            throw CliException.Usage("Which connection?", "countersign request CONNECTION --file change.sql --reason TEXT");
        }

        if (new[] { asked.File, asked.Sql, asked.Window }.Count(each => each is not null) != 1)
        {
            throw CliException.Usage("Give --file, --sql or --window: exactly one of them.");
        }

        if (string.IsNullOrWhiteSpace(asked.Reason))
        {
            throw CliException.Usage("Whoever approves it wants to know why.", "Add --reason 'what it is for'");
        }

        var slash = asked.Connection.IndexOf('/', StringComparison.Ordinal);
        var connection = slash < 0 ? asked.Connection : asked.Connection[..slash];
        var database = slash < 0 || slash == asked.Connection.Length - 1 ? null : asked.Connection[(slash + 1)..];
        var script = asked.File is { } file ? await ReadAsync(invocation, file) : null;
        var answer = await invocation.Server.PostAsync<AheadRequest, AheadAnswer>(
            "proxy", "proxy/v1/requests", new AheadRequest(connection, database, script, asked.Sql, Window(asked), asked.Reason, asked.Extends), invocation.Cancellation);
        if (answer.Request is not { } request)
        {
            return invocation.Print(answer, output => output.Line("No approval is needed: the policy allows it. Nobody was asked."));
        }

        if (wait)
        {
            request = await Requests.WaitAsync(
                invocation, Arguments.Duration(timeout, TimeSpan.FromMinutes(30)), $"a decision on {request.Id}",
                async () => await Requests.GetAsync(invocation, request.Id) is { } now && !Requests.IsOpen(now.State) ? now : null);
            answer = answer with { Request = request };
        }

        return invocation.Print(
            answer,
            output => Tell(output, answer, request, asked),
            Requests.IsGood(request.State) ? ExitCodes.Ok : ExitCodes.Refused);
    }

    private static void Tell(CliOutput output, AheadAnswer answer, RequestView request, Asked asked)
    {
        output.Line($"{request.Id} is {Requests.StateName(request.State)}{(answer.Attached ? "; the same was asked for before" : "")}.");
        output.Fields(
            ("needs", string.Join(" and ", request.AllOf.Select(each => string.Create(CultureInfo.InvariantCulture, $"{each.Quorum} of {string.Join(" or ", each.AnyOf)}")))),
            ("held", answer.Statements.Count == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"{answer.Statements.Count(each => each.Decision == Outcome.RequireApproval)} of {answer.Statements.Count} statements")),
            ("expires", CliOutput.Time(request.ExpiresAt)),
            ("link", request.Link));
        output.Notice(
            asked.Window is not null ? "Once it is approved, the first statement that lies in it starts its clock."
            : asked.File is not null ? $"Once it is approved: countersign connect {asked.Connection} -- -f {(asked.File == "-" ? "FILE" : asked.File)}"
            : $"Once it is approved, run exactly this text on {asked.Connection}.");
    }

    private static async Task<int> BreakGlassAsync(Invocation invocation, string id, string? reason, bool yes)
    {
        if (string.IsNullOrWhiteSpace(reason))
        {
            throw CliException.Usage("Breaking the glass says why.", "Add --reason 'why it can\'t wait'");
        }

        if (!yes && (!invocation.Host.InputIsTerminal || invocation.Output.IsJson))
        {
            throw CliException.Usage("There is nobody to ask: stdin is not a terminal, or --output is json.", $"Look at it with 'countersign request show {id}', then add --yes.");
        }

        var request = await Requests.GetAsync(invocation, id);
        if (!Requests.DigestBelongs(request))
        {
            throw new CliException(ExitCodes.Refused, $"The digest of {id} does not belong to the operations that the server shows, so nothing is run.", code: "digest-mismatch");
        }

        if (!invocation.Output.IsJson)
        {
            Requests.Show(invocation.Output, request);
        }

        if (!request.BreakGlassAllowed || !Requests.IsOpen(request.State))
        {
            throw new CliException(
                ExitCodes.Refused, request.BreakGlassAllowed ? $"{id} is {Requests.StateName(request.State)}." : $"The policy lets nobody go ahead alone with {id}.", code: "not-allowed");
        }

        if (!yes)
        {
            invocation.Host.Out.Write("\nThis runs without anybody's agreement. It alerts at once, is recorded as done alone, and somebody else must review it.\nType 'break glass' to go on: ");
            var answer = await invocation.Host.In.ReadLineAsync(invocation.Cancellation);
            if (!string.Equals(answer?.Trim(), "break glass", StringComparison.OrdinalIgnoreCase))
            {
                throw new CliException(ExitCodes.Refused, "Nothing was done.", code: "not-confirmed");
            }
        }

        var broken = await invocation.Server.PostAsync<BreakGlassRequest, RequestView>(
            "approval", $"approval/v1/requests/{Uri.EscapeDataString(id)}/break-glass", new BreakGlassRequest(request.Digest, reason), invocation.Cancellation);
        return invocation.Print(broken, output => output.Line(
            $"{id} is {Requests.StateName(broken.State)}; what waits for it goes on{(broken.Review is { } review ? $". Somebody else must review it by {CliOutput.Time(review.DueAt)}" : "")}."));
    }

    private static AccessWindow? Window(Asked asked)
    {
        if (asked.Window is null)
        {
            return asked.Statements is null && asked.Relations is null ? null : throw CliException.Usage("--statements and --relations describe a --window.");
        }

        var statements = List(asked.Statements).Select(each => each.ToUpperInvariant()).ToList();
        var relations = List(asked.Relations);
        return statements.Count > 0 && relations.Count > 0
            ? new AccessWindow((int)Math.Min(Arguments.Duration(asked.Window, default).TotalSeconds, int.MaxValue), statements, relations)
            : throw CliException.Usage("A window says what lies in it.", "Add --statements UPDATE,DELETE --relations public.orders");
    }

    private static List<string> List(string? text) => [.. (text ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)];

    private static async Task<string> ReadAsync(Invocation invocation, string file)
    {
        if (file == "-")
        {
            return await invocation.Host.In.ReadToEndAsync(invocation.Cancellation);
        }

        try
        {
            return new FileInfo(file).Length <= LargestFile
                ? await File.ReadAllTextAsync(file, new System.Text.UTF8Encoding(false, throwOnInvalidBytes: true), invocation.Cancellation)
                : throw CliException.Usage($"{file} is larger than 1 MiB.");
        }
        catch (System.Text.DecoderFallbackException error)
        {
            throw new CliException(ExitCodes.Usage, $"{file} is not UTF-8.", code: "not-utf8", inner: error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCodes.Usage, $"{file} can't be read: {error.Message}", code: "unreadable", inner: error);
        }
    }

    private sealed record Asked(string? Connection, string? File, string? Sql, string? Window, string? Statements, string? Relations, string? Reason, string? Extends);
}
