using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Countersign.Cli.Connecting;

/// <summary>A native client in the foreground: it has the terminal, its signals and the last word on the exit code.</summary>
internal static class ClientProcess
{
    private const int SigInt = 2;
    private const int SigTerm = 15;
    private const int SigHup = 1;
    private const int SigQuit = 3;

    /// <param name="host">Outside world.</param>
    /// <param name="program">Name or path of the client.</param>
    /// <param name="arguments">Its arguments as the person gave them; never a secret.</param>
    /// <param name="environment">Variables to set; null to remove.</param>
    /// <returns>The client's exit code; 128 and the signal where one ended it.</returns>
    public static async Task<int> RunAsync(
        CliHost host, string program, IReadOnlyList<string> arguments, IReadOnlyList<KeyValuePair<string, string?>> environment)
    {
        var start = new ProcessStartInfo(program, arguments) { UseShellExecute = false };
        foreach (var (name, value) in environment)
        {
            start.Environment.Remove(name);
            if (value is not null)
            {
                start.Environment[name] = value;
            }
        }

        host.ClientOwnsSignals = true;
        try
        {
            Process? client = null;
            using var interrupt = Forward(PosixSignal.SIGINT, SigInt);
            using var quit = Forward(PosixSignal.SIGQUIT, SigQuit);
            using var terminate = Forward(PosixSignal.SIGTERM, SigTerm);
            using var hangUp = Forward(PosixSignal.SIGHUP, SigHup);
            client = Start(start);
            using (client)
            {
                await client.WaitForExitAsync(CancellationToken.None);
                return client.ExitCode;
            }

            // A terminal sends Ctrl-C to the client itself, which is in the same process group; a signal that was sent to this process alone is passed on.
            PosixSignalRegistration Forward(PosixSignal signal, int number) => PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                var fromTerminal = signal is PosixSignal.SIGINT or PosixSignal.SIGQUIT && host.InputIsTerminal;
                if (!fromTerminal && Volatile.Read(ref client) is { HasExited: false } running)
                {
                    _ = Kill(running.Id, number);
                }
            });
        }
        finally
        {
            host.ClientOwnsSignals = false;
        }
    }

    private static Process Start(ProcessStartInfo start)
    {
        try
        {
            return Process.Start(start) ?? throw new Win32Exception();
        }
        catch (Win32Exception error)
        {
            throw new CliException(
                ExitCodes.Usage, $"{start.FileName} can't be run: {error.Message}",
                "Install the PostgreSQL client (Debian: apt install postgresql-client), or name one with COUNTERSIGN_PSQL.", "no-client", error);
        }
    }

    [DllImport("libc", EntryPoint = "kill")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Kill(int process, int signal);
}
