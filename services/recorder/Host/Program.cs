using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Recorder.Host;

/// <summary>The recorder alone, as a process of its own.</summary>
internal static class Program
{
    private static async Task Main(string[] args)
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-recorder");
        builder.AddEmbeddedPlatform(builder.Configuration["Countersign:Data"] ?? ".countersign", AppIds.Recorder);
        builder.AddRecorderService();
        await using var app = builder.Build();
        app.UseCountersignHosting();
        app.MapRecorderService();
        await app.RunAsync();
    }
}
