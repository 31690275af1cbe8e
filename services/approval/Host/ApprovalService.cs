using Countersign.Approval.Actors;
using Countersign.Approval.Actors.Dapr;
using Countersign.Approval.Grants;
using Countersign.Approval.Host.Inbox;
using Countersign.Approval.Host.Notifications;
using Countersign.Approval.Host.Pages;
using Countersign.Approval.Workflow;
using Countersign.Platform.Dapr;
using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Postgres;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.Options;

namespace Countersign.Approval.Host;

/// <summary>Composition of the approval service: who else agreed?</summary>
public static class ApprovalService
{
    /// <summary>Registers the service. Needs the embedded platform (added before) for <see cref="AppIds.Approval"/>.</summary>
    public static IHostApplicationBuilder AddApprovalService(this IHostApplicationBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.AddPostgresStorage(AppIds.Approval);
        var services = builder.Services;
        var section = builder.Configuration.GetSection("Countersign:Approval");
        services.AddOptions<ApprovalOptions>().BindChecked(section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<ApprovalOptions>, ApprovalOptionsCheck>();
        services.AddSingleton(provider =>
        {
            var keys = provider.GetRequiredService<EmbeddedData>().Keys;
            return new GrantKeys(
                provider.GetRequiredKeyedService<SigningKey>(AppIds.Approval), keys,
                jwks => provider.GetRequiredService<KeyEnrolment>().Publish(AppIds.Approval, jwks));
        });
        services.AddHostedService<GrantKeyRotation>();
        services.AddSingleton<PublicAddress>();
        services.AddSingleton<Directory>();
        services.AddSingleton<TokenEvidence>();
        services.AddSingleton<IEvidence>(provider => provider.GetRequiredService<TokenEvidence>());
        services.AddSingleton<IGrantSigner, GrantSigner>();
        services.AddMetrics();
        services.AddSingleton<ApprovalMetrics>();
        services.AddSingleton<RefusalOutbox>();
        services.AddHostedService(provider => provider.GetRequiredService<RefusalOutbox>());
        services.AddSingleton<RequestEvents>();
        services.AddSingleton<IEffects<RequestDocument, RequestEffect>>(provider => provider.GetRequiredService<RequestEvents>());
        services.AddSingleton<IRefusalReports>(provider => provider.GetRequiredService<RequestEvents>());
        services.AddSingleton<RequestViews>();
        services.AddSingleton<RequestService>();
        services.AddSingleton<RequestLists>();
        services.AddSingleton<PageSessions>();
        services.AddSingleton<RequestPages>();
        services.AddSingleton<ApproverInbox>();
        services.AddSingleton<InboxPages>();
        services.AddOpenApi(ApprovalEndpoints.DocumentName, ApprovalEndpoints.Describe);

        // The silo is configured before options can be validated; what is out of range fails at start with all other errors.
        var options = new ApprovalOptions();
        section.BindChecked(options);
        services.AddNotifications(options.Notify);
        if (ServicePlatform.IsDapr(builder.Configuration))
        {
            var sidecar = DaprOptions.Read(builder.Configuration);
            builder.AddDaprApprovalActors(sidecar.HttpEndpoint, sidecar.ApiToken, Settings(options));
        }
        else
        {
            builder.AddApprovalActors(options.SiloPort is >= 0 and <= 65_535 ? options.SiloPort : 0, Settings(options));
        }

        return builder;
    }

    /// <summary>How the workflows behave. What is out of range is reported elsewhere, with all other errors.</summary>
    internal static WorkflowSettings Settings(ApprovalOptions options) => new(
        new RequesterLimits(
            options.MaxPending, TimeSpan.FromSeconds(Math.Clamp(options.BackOffSeconds, 0, 86_400)), TimeSpan.FromSeconds(Math.Clamp(options.MaxBackOffSeconds, 0, 86_400))),
        TimeSpan.FromHours(Math.Clamp(options.ReviewHours, 1, 24 * 30)),
        new RequestRetention(options.RetentionDays is > 0 and <= 36_500 ? TimeSpan.FromDays(options.RetentionDays) : null));

    /// <summary>Maps the routes of the service, all below <c>/approval</c>.</summary>
    public static IEndpointRouteBuilder MapApprovalService(this IEndpointRouteBuilder app)
    {
        ArgumentNullException.ThrowIfNull(app);
        ApprovalEndpoints.Map(app);
        RequestPages.Map(app);
        InboxPages.Map(app);
        if (ServicePlatform.IsDapr(app.ServiceProvider.GetRequiredService<IConfiguration>()))
        {
            app.MapDaprApprovalActors();
        }

        return app;
    }
}
