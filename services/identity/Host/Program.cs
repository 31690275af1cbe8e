using Countersign.Platform.Dapr;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Host;

/// <summary>Identity as a process of its own.</summary>
internal static class Program
{
    private static Task<int> Main(string[] args) => CountersignProcess.RunAsync(() =>
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-identity");
        builder.AddServicePlatform(AppIds.Identity);
        builder.AddIdentityService();
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapServicePlatform(AppIds.Identity);
        app.MapIdentityService();
        return app;
    });
}
