using System.CommandLine;
using System.Globalization;

namespace Countersign.Cli.Commands;

/// <summary>help exit-codes.</summary>
internal static class HelpCommands
{
    public static Command Create(CommandFactory make) => CommandFactory.Group(
        "help", "What the exit codes mean.",
        make.New("exit-codes", "List the exit codes.", invocation => Task.FromResult(invocation.Print(
            ExitCodes.All.Select(entry => new { code = entry.Code, meaning = entry.Meaning }),
            output =>
            {
                output.Table(["code", "meaning"], ExitCodes.All.Select(entry => (IReadOnlyList<string>)[entry.Code.ToString(CultureInfo.InvariantCulture), entry.Meaning]));
                output.Line();
                output.Line("'countersign connect' ends with the exit code of the client it ran.");
            }))));
}
