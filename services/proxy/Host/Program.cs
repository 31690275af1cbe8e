using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Proxy.Host;

internal static class Program
{
    private static async Task Main(string[] args)
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-proxy");
        builder.AddEmbeddedPlatform(builder.Configuration["Countersign:Data"] ?? "./.countersign", AppIds.Proxy);
        builder.AddProxyService();
        await using var app = builder.Build();
        app.UseCountersignHosting();
        app.MapProxyService();
        await app.RunAsync();
    }
}
