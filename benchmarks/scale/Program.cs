using System.Globalization;

namespace Countersign.Benchmarks.Scale;

/// <summary>
/// Many proxies and their sessions on one control plane: <c>RESULTS-FILE PROXIES SESSIONS SECONDS STATEMENTS-A-SECOND LOGINS CONNECTIONS OLD-CREDENTIALS</c>. Figures go to
/// standard output, the page about them to the file.
/// </summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        if (args.Length != 8)
        {
            await Console.Error.WriteLineAsync("RESULTS-FILE PROXIES SESSIONS SECONDS STATEMENTS-A-SECOND LOGINS CONNECTIONS OLD-CREDENTIALS");
            return 2;
        }

        try
        {
            int Number(int index) => int.Parse(args[index], CultureInfo.InvariantCulture);
            await using var simulation = new Simulation(new Load(Number(1), Number(2), TimeSpan.FromSeconds(Number(3)), Number(4), Number(5), Number(6), Number(7)));
            await simulation.RunAsync();
            await File.WriteAllTextAsync(args[0], simulation.Page);
            return 0;
        }
#pragma warning disable CA1031 // an error that nobody takes ends the process before what was started is stopped
        catch (Exception error)
#pragma warning restore CA1031
        {
            await Console.Error.WriteLineAsync(error.ToString());
            return 1;
        }
    }
}

/// <summary>How much of everything.</summary>
/// <param name="Proxies">Proxies.</param>
/// <param name="Sessions">Sessions in all.</param>
/// <param name="Steady">How long the steady state is measured.</param>
/// <param name="StatementsPerSecond">In all sessions together.</param>
/// <param name="Logins">Logins that are measured.</param>
/// <param name="Connections">Registered targets.</param>
/// <param name="OldCredentials">Credentials that have expired and aren't forgotten yet.</param>
internal sealed record Load(int Proxies, int Sessions, TimeSpan Steady, int StatementsPerSecond, int Logins, int Connections, int OldCredentials);
