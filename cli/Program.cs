using System.Runtime.InteropServices;

namespace Countersign.Cli;

internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        using var interrupted = new CancellationTokenSource();
        var host = CliHost.OfProcess(interrupted.Token);

        // While a client such as psql runs, Ctrl-C is the client's: see Connecting/ClientProcess.cs, which registers its own handlers.
        void Interrupt(PosixSignalContext context)
        {
            context.Cancel = true;
            if (!host.ClientOwnsSignals)
            {
                interrupted.Cancel();
            }
        }

        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);
        return await CliApplication.RunAsync(arguments, host);
    }
}
