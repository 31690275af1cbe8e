namespace Countersign.Cli;

/// <summary>Exit codes: a stable interface for scripts (docs/operations/cli.md).</summary>
internal static class ExitCodes
{
    /// <summary>Done, or the answer is yes.</summary>
    public const int Ok = 0;

    /// <summary>Refused by the server, or the answer is no: a finding, a failed test, a denied request.</summary>
    public const int Refused = 1;

    /// <summary>The command line is wrong, or a file can't be read.</summary>
    public const int Usage = 2;

    /// <summary>Not logged in, or the login has expired.</summary>
    public const int NotLoggedIn = 3;

    /// <summary>The server or something it needs can't be reached.</summary>
    public const int Unavailable = 4;

    /// <summary>A mistake in this program (EX_SOFTWARE of sysexits.h).</summary>
    public const int Defect = 70;

    /// <summary>Ended by Ctrl-C or SIGTERM, as shells count it.</summary>
    public const int Interrupted = 130;

    public static readonly IReadOnlyList<(int Code, string Meaning)> All =
    [
        (Ok, "done, or the answer is yes"),
        (Refused, "refused, or the answer is no: a finding of verify, a failed policy test, a request that was denied"),
        (Usage, "wrong command line, or a file that can't be read"),
        (NotLoggedIn, "not logged in, or the login has expired"),
        (Unavailable, "the server, or something it needs, can't be reached"),
        (Defect, "a defect of this program"),
        (Interrupted, "ended by Ctrl-C or SIGTERM"),
    ];
}

/// <summary>Ends a command with one clear message and an exit code.</summary>
internal sealed class CliException : Exception
{
    public CliException(int exitCode, string message, string? hint = null, string? code = null, Exception? inner = null)
        : base(message, inner)
    {
        ExitCode = exitCode;
        Hint = hint;
        Code = code;
    }

    public int ExitCode { get; }

    /// <summary>What to do next.</summary>
    public string? Hint { get; }

    /// <summary>Stable code, the server's where it gave one.</summary>
    public string? Code { get; }

    public static CliException Usage(string message, string? hint = null, Exception? inner = null) => new(ExitCodes.Usage, message, hint, "usage", inner);
}
