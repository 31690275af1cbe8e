namespace Countersign.Standalone;

internal static class Program
{
    private static async Task Main(string[] args)
    {
        await using var app = StandaloneHost.Build(args);
        await app.RunAsync();
    }
}
