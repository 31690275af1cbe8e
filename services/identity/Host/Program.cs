using Countersign.Platform.Embedded;
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
        builder.AddEmbeddedPlatform(builder.Configuration["Countersign:Data"] ?? "./.countersign", AppIds.Identity);
        builder.AddIdentityService();
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapIdentityService();
        return app;
    });
}
