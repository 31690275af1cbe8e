using Countersign.Platform.Dapr;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host;

internal static class Program
{
    private static Task<int> Main(string[] args) => CountersignProcess.RunAsync(() =>
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign-approval");
        builder.AddServicePlatform(AppIds.Approval);
        builder.AddApprovalService();
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapServicePlatform(AppIds.Approval);
        app.MapApprovalService();
        return app;
    });
}
