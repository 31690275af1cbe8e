using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Postgres;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Microsoft.Extensions.Options;

namespace Countersign.Policy.Host;

/// <summary>Composition of the policy service: may it happen, and on what terms?</summary>
public static class PolicyService
{
    /// <summary>Registers the service. Needs a platform (added before) for <see cref="AppIds.Policy"/>.</summary>
    public static IHostApplicationBuilder AddPolicyService(this IHostApplicationBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.AddPostgresStorage(AppIds.Policy);
        var services = builder.Services;
        services.AddOptions<PolicyOptions>().BindChecked(builder.Configuration.GetSection("Countersign:Policy")).ValidateOnStart();
        services.AddSingleton<IValidateOptions<PolicyOptions>, PolicyOptionsCheck>();
        services.AddSingleton(provider => new BundleStore(provider.GetRequiredKeyedService<IStateStore>(AppIds.Policy)));
        services.AddSingleton(provider => new BundleSigner(provider.GetRequiredKeyedService<SigningKey>(AppIds.Policy)));
        services.AddSingleton(provider => new BundleVerifier(provider.GetRequiredService<ITrustedKeys>()));
        services.AddSingleton<PolicyState>();
        services.AddSingleton<ChangeStore>();
        services.AddSingleton<ServiceCalls>();
        services.AddMetrics();
        services.AddSingleton<PolicyMetrics>();
        services.AddSingleton<AuditTrail>();
        services.AddSingleton<RemovalRules>();
        services.AddSingleton<Readers>();
        services.AddSingleton<SegregationReports>();
        services.AddSingleton<ChangeService>();
        services.AddSingleton<Questions>();
        services.AddHostedService(provider => provider.GetRequiredService<PolicyState>());
        services.AddHostedService<BeaconLoop>();
        services.AddHostedService<ChangeLoop>();
        services.AddSingleton(provider =>
        {
            var changes = provider.GetRequiredService<ChangeService>();
            return new BusSubscription(AppIds.Policy, Topics.Approvals, (happened, cancellation) => ChangeLoop.OnChangedAsync(changes, happened, cancellation));
        });
        services.AddReadiness("policy-bundle", (provider, _) => ValueTask.FromResult(provider.GetRequiredService<PolicyState>().Unusable));
        return builder;
    }

    /// <summary>Maps the routes of the service, all below <c>/policy</c>.</summary>
    public static IEndpointRouteBuilder MapPolicyService(this IEndpointRouteBuilder app)
    {
        ArgumentNullException.ThrowIfNull(app);
        PolicyEndpoints.Map(app);
        return app;
    }
}
