using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Policy.Host;

internal static class Program
{
    private static async Task Main(string[] args)
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-policy");
        builder.AddEmbeddedPlatform(builder.Configuration["Countersign:Data"] ?? "./.countersign", AppIds.Policy);
        builder.AddPolicyService();
        await using var app = builder.Build();
        app.UseCountersignHosting();
        app.MapPolicyService();
        await app.RunAsync();
    }
}
