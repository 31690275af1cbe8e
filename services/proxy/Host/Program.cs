using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Proxy.Host;

internal static class Program
{
    private static Task<int> Main(string[] args) => CountersignProcess.RunAsync(() =>
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-proxy");
        builder.AddEmbeddedPlatform(builder.Configuration["Countersign:Data"] ?? "./.countersign", AppIds.Proxy);
        builder.AddProxyService();
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapProxyService();
        return app;
    });
}
