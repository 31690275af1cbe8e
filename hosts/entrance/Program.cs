using Countersign.Platform.Hosting;

namespace Countersign.Entrance;

internal static class Program
{
    private static Task<int> Main(string[] args) => CountersignProcess.RunAsync(() => EntranceHost.Build(args));
}
