using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host;

internal static class Program
{
    private static Task<int> Main(string[] args) => CountersignProcess.RunAsync(() =>
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-approval");
        builder.AddEmbeddedPlatform(builder.Configuration["Countersign:Data"] ?? "./.countersign", AppIds.Approval);
        builder.AddApprovalService();
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapApprovalService();
        return app;
    });
}
