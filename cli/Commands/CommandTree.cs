using System.CommandLine;

namespace Countersign.Cli.Commands;

/// <summary>Every command, in the order in which help lists them.</summary>
internal static class CommandTree
{
    public static RootCommand Create(CliHost host)
    {
        var options = new GlobalOptions();
        var root = new RootCommand("Countersign: what one person can't do alone, a second one countersigns.\n\nExit codes: see 'countersign help exit-codes'.")
        {
            options.Server,
            options.Profile,
            options.Output,
        };
        var make = new CommandFactory(host, options);
        foreach (var command in (IEnumerable<Command>)
        [
            .. LoginCommands.Create(make),
            ConnectCommand.Create(make),
            .. RequestCommands.Create(make),
            .. DecideCommands.Create(make),
            AheadCommands.BreakGlass(make),
            .. ReviewCommands.Create(make),
            WhyCommand.Create(make),
            .. RecordingCommands.Create(make),
            .. EvidenceCommands.Create(make),
            VerifyCommand.Create(make),
            PolicyCommands.Create(make),
            ConnectionCommands.Create(make),
            CredentialCommands.Create(make),
            PersonCommands.Create(make),
            LinkCommands.Create(make),
            ServiceAccountCommands.Create(make),
            SegregationCommands.Create(make),
            DeadLetterCommands.Create(make),
            HelpCommands.Create(make),
        ])
        {
            root.Add(command);
        }

        return root;
    }
}

/// <summary>Options that every command takes.</summary>
internal sealed class GlobalOptions
{
    public Option<string?> Server { get; } = new("--server")
    {
        Description = "Base URL of the server (default: COUNTERSIGN_SERVER, then the profile's).",
        HelpName = "URL",
        Recursive = true,
    };

    public Option<string?> Profile { get; } = new("--profile")
    {
        Description = "Whose login to use (default: COUNTERSIGN_PROFILE, then 'default').",
        HelpName = "NAME",
        Recursive = true,
    };

    public Option<string?> Output { get; } = new("--output", "-o")
    {
        Description = "text (default) or json.",
        HelpName = "FORMAT",
        Recursive = true,
    };
}

/// <summary>Makes commands whose action gets an <see cref="Invocation"/>.</summary>
internal sealed class CommandFactory(CliHost host, GlobalOptions options)
{
    /// <param name="name">Name.</param>
    /// <param name="description">One line for help.</param>
    /// <param name="run">The action; its result is the exit code.</param>
    /// <param name="parts">Arguments and options.</param>
    public Command New(string name, string description, Func<Invocation, Task<int>> run, params Symbol[] parts) =>
        New(name, description, outputMayBeFile: false, run, parts);

    /// <summary>The same; where the output may be a file, <c>--output</c> with anything but a format names one.</summary>
    public Command New(string name, string description, bool outputMayBeFile, Func<Invocation, Task<int>> run, params Symbol[] parts)
    {
        var command = new Command(name, description);
        Add(command, outputMayBeFile, run, parts);
        return command;
    }

    /// <summary>Gives a command that has others below it something to do by itself.</summary>
    public void Add(Command command, Func<Invocation, Task<int>> run, params Symbol[] parts) => Add(command, outputMayBeFile: false, run, parts);

    private void Add(Command command, bool outputMayBeFile, Func<Invocation, Task<int>> run, Symbol[] parts)
    {
        foreach (var part in parts)
        {
            if (part is Argument argument)
            {
                command.Add(argument);
            }
            else
            {
                command.Add((Option)part);
            }
        }

        command.SetAction(async (parsed, cancellation) =>
        {
            using var invocation = new Invocation(host, options, parsed, outputMayBeFile, cancellation);
            return await run(invocation);
        });
    }

    public static Command Group(string name, string description, params Command[] commands)
    {
        var group = new Command(name, description);
        foreach (var command in commands)
        {
            group.Add(command);
        }

        return group;
    }
}
