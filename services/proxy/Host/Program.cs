using Countersign.Platform.Dapr;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Proxy.Host;

internal static class Program
{
    private static Task<int> Main(string[] args) => CountersignProcess.RunAsync(() =>
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-proxy");
        builder.AddServicePlatform(AppIds.Proxy);
        builder.AddProxyService();
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapServicePlatform(AppIds.Proxy);
        app.MapProxyService();
        return app;
    });
}
