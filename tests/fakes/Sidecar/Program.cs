using System.Text.Json;

namespace Countersign.Fakes.Sidecar;

/// <summary>
/// The double as a process: <c>Countersign.Fakes.Sidecar CONFIG.json</c>, where the file has <c>plane</c> (see <see cref="PlaneOptions"/>) and
/// <c>sidecars</c> (see <see cref="SidecarOptions"/>). It says <c>ready</c> when all ports answer and ends on SIGTERM.
/// </summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        if (args is not [var path])
        {
            await Console.Error.WriteLineAsync("usage: Countersign.Fakes.Sidecar CONFIG.json");
            return 64;
        }

        var setup = JsonSerializer.Deserialize<Setup>(await File.ReadAllTextAsync(path), JsonSerializerOptions.Web)!;
        await using var plane = new Plane(setup.Plane);
        foreach (var sidecar in setup.Sidecars)
        {
            await plane.AddAsync(sidecar);
        }

        var ended = new TaskCompletionSource();
        using var terminate = System.Runtime.InteropServices.PosixSignalRegistration.Create(System.Runtime.InteropServices.PosixSignal.SIGTERM, signal =>
        {
            signal.Cancel = true;
            ended.TrySetResult();
        });
        using var interrupt = System.Runtime.InteropServices.PosixSignalRegistration.Create(System.Runtime.InteropServices.PosixSignal.SIGINT, signal =>
        {
            signal.Cancel = true;
            ended.TrySetResult();
        });
        await Console.Out.WriteLineAsync("ready");
        await ended.Task;
        return 0;
    }

    private sealed record Setup(PlaneOptions Plane, IReadOnlyList<SidecarOptions> Sidecars);
}
