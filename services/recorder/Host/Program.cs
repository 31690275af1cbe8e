using Countersign.Platform.Dapr;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Recorder.Host;

/// <summary>The recorder alone, as a process of its own.</summary>
internal static class Program
{
    private static Task<int> Main(string[] args) => CountersignProcess.RunAsync(() =>
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-recorder");
        builder.AddServicePlatform(AppIds.Recorder);
        builder.AddRecorderService();
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapServicePlatform(AppIds.Recorder);
        app.MapRecorderService();
        return app;
    });
}
