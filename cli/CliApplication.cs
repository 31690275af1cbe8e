using System.CommandLine;
using System.CommandLine.Invocation;
using Countersign.Cli.Commands;
using Countersign.Cli.Output;

namespace Countersign.Cli;

/// <summary>The command line as a whole: parse, run, and turn every end into one message and an exit code.</summary>
internal static class CliApplication
{
    public static async Task<int> RunAsync(IReadOnlyList<string> arguments, CliHost host)
    {
        var json = WantsJson(arguments);
        try
        {
            // "@name" stays what it is: a response file would let a text from elsewhere pull in files.
            var parsed = CommandTree.Create(host).Parse(arguments.Count == 0 ? ["--help"] : arguments, new ParserConfiguration { ResponseFileTokenReplacer = null });
            if (parsed.Errors.Count > 0 && parsed.Action is ParseErrorAction)
            {
                var help = $"Run: {Path(parsed.CommandResult)} --help";
                throw CliException.Usage(string.Join('\n', parsed.Errors.Select(error => error.Message).Distinct()), help);
            }

            return await parsed.InvokeAsync(
                new InvocationConfiguration { Output = host.Out, Error = host.Error, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null },
                host.Interrupted);
        }
        catch (CliException error)
        {
            return Report(host, json, error);
        }
        catch (OperationCanceledException) when (host.Interrupted.IsCancellationRequested)
        {
            return ExitCodes.Interrupted;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return Report(host, json, CliException.Usage(error.Message, inner: error));
        }
#pragma warning disable CA1031 // The last resort: nobody is helped by a stack trace on a terminal.
        catch (Exception error)
#pragma warning restore CA1031
        {
            var exit = Report(host, json, new CliException(
                ExitCodes.Defect, $"Unexpected: {error.GetType().Name}: {error.Message}",
                "This is a defect of countersign. COUNTERSIGN_DEBUG=1 prints where it happened.", "defect", error));
            if (host.Variable("COUNTERSIGN_DEBUG") == "1")
            {
                host.Error.WriteLine(error);
            }

            return exit;
        }
    }

    private static int Report(CliHost host, bool json, CliException error)
    {
        if (json)
        {
            host.Error.WriteLine(CliJson.Print(
                new { error = new { code = error.Code ?? "refused", message = error.Message, hint = error.Hint, exitCode = error.ExitCode } }, indented: false));
            return error.ExitCode;
        }

        var lines = TerminalText.Lines(error.Message);
        host.Error.WriteLine("countersign: " + string.Join('\n', lines));
        if (error.Hint is not null)
        {
            host.Error.WriteLine("hint: " + TerminalText.Line(error.Hint));
        }

        return error.ExitCode;
    }

    // Looked up in the words themselves: a command line that can't be parsed has an output format too.
    private static bool WantsJson(IReadOnlyList<string> arguments)
    {
        var own = arguments.TakeWhile(argument => argument != "--").ToList();
        return own.Zip(own.Skip(1)).Any(pair => pair is { First: "--output" or "-o", Second: "json" }) || own.Any(argument => argument is "--output=json" or "-o=json" or "-ojson");
    }

    private static string Path(System.CommandLine.Parsing.CommandResult result)
    {
        var names = new List<string>();
        for (System.CommandLine.Parsing.SymbolResult? at = result; at is not null; at = at.Parent)
        {
            if (at is System.CommandLine.Parsing.CommandResult command)
            {
                names.Insert(0, command.Command is RootCommand ? "countersign" : command.Command.Name);
            }
        }

        return string.Join(' ', names);
    }
}
