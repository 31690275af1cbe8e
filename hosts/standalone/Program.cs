using Countersign.Platform.Hosting;

namespace Countersign.Standalone;

internal static class Program
{
    private static Task<int> Main(string[] args) => CountersignProcess.RunAsync(() => StandaloneHost.Build(args));
}
