using Countersign.Approval.Host;
using Countersign.Identity.Host;
using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Policy.Host;
using Countersign.Proxy.Host;
using Countersign.Recorder.Host;

namespace Countersign.Standalone;

/// <summary>All five services in one process: the embedded default. The services are the same as anywhere; only the composition differs.</summary>
public static class StandaloneHost
{
    /// <summary>Composes the host.</summary>
    /// <param name="args">Configuration on the command line, e.g. <c>--Countersign:Data=/var/lib/countersign</c>.</param>
    public static WebApplication Build(string[] args)
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.AddCountersignHosting("countersign");
        builder.AddEmbeddedPlatform(builder.Configuration["Countersign:Data"] ?? "./.countersign");
        builder.AddIdentityService();
        builder.AddPolicyService();
        builder.AddApprovalService();
        builder.AddRecorderService();
        // Last, so that it is stopped first: sessions drain while everything that they need still runs.
        builder.AddProxyService();

        var app = builder.Build();
        app.UseCountersignHosting();
        foreach (var appId in new[] { AppIds.Identity, AppIds.Policy, AppIds.Approval, AppIds.Recorder, AppIds.Proxy })
        {
            app.MapDeadLetters(appId);
        }

        app.MapIdentityService();
        app.MapPolicyService();
        app.MapApprovalService();
        app.MapRecorderService();
        app.MapProxyService();
        return app;
    }
}
