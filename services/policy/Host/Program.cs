using Countersign.Platform.Dapr;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Policy.Host;

internal static class Program
{
    private static Task<int> Main(string[] args) => CountersignProcess.RunAsync(() =>
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-policy");
        builder.AddServicePlatform(AppIds.Policy);
        builder.AddPolicyService();
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapServicePlatform(AppIds.Policy);
        app.MapPolicyService();
        return app;
    });
}
