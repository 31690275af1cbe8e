using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host;

internal static class Program
{
    private static async Task Main(string[] args)
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-approval");
        builder.AddEmbeddedPlatform(builder.Configuration["Countersign:Data"] ?? "./.countersign", AppIds.Approval);
        builder.AddApprovalService();
        await using var app = builder.Build();
        app.UseCountersignHosting();
        app.MapApprovalService();
        await app.RunAsync();
    }
}
