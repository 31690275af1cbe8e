using System.Globalization;

namespace Countersign.Benchmarks.Distribution;

/// <summary>
/// Five services as processes of their own: <c>RESULTS-FILE ROUNDS SECONDS CHANGES STATEMENTS [CLUSTER-SCRIPT FOLDER PORT-BASE]</c>. With a script it starts real sidecars,
/// else the double. Figures go to standard output, the page about them to the file.
/// </summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        if (args.Length is not (5 or 8))
        {
            await Console.Error.WriteLineAsync("RESULTS-FILE ROUNDS SECONDS CHANGES STATEMENTS [CLUSTER-SCRIPT FOLDER PORT-BASE]");
            return 2;
        }

        try
        {
            await RunAsync(args);
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

    private static async Task RunAsync(string[] args)
    {
        int Number(int index) => int.Parse(args[index], CultureInfo.InvariantCulture);
        await using IComposition composition = args.Length == 8
            ? await DaprComposition.StartAsync(args[5], args[6], Number(7))
            : await DoubleComposition.StartAsync(CancellationToken.None);
        await using var world = await World.StartAsync(composition);
        var figures = new Figures();
        figures.Say($"Sidecars: {composition.Sidecars}.");
        figures.Say($"");
        await ApprovalToForward.RunAsync(world, figures, Number(4));
        await PolicyChange.RunAsync(world, figures, Number(3));
        await Throughput.RunAsync(world, figures, Number(1), Number(2));
        await File.WriteAllTextAsync(args[0], figures.Page);
    }
}
