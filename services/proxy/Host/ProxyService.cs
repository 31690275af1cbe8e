using System.Globalization;
using System.Text;
using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Proxy.Host.Api;
using Countersign.Proxy.Host.ControlPlane;
using Countersign.Proxy.Host.Recording;
using Countersign.Proxy.Host.Tls;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Analysis;
using Countersign.Proxy.Sql.Native;
using Countersign.Proxy.Vault;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host;

/// <summary>Composition of the proxy: does it get through? The platform and hosting come from whoever composes the process.</summary>
public static class ProxyService
{
    /// <summary>Registers the proxy. Needs the embedded platform (added before) for <see cref="AppIds.Proxy"/>.</summary>
    public static IHostApplicationBuilder AddProxyService(this IHostApplicationBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var services = builder.Services;
        services.AddOptions<ProxyOptions>().BindChecked(builder.Configuration.GetSection(ProxyOptions.Section)).PostConfigure<EmbeddedData>((options, data) =>
        {
            if (options.Data.Length == 0)
            {
                options.Data = System.IO.Path.Combine(data.Directory, "proxy");
            }
        }).ValidateOnStart();
        services.AddSingleton<IValidateOptions<ProxyOptions>, ProxyOptionsValidator>();

        // The host must not cut off the drain, the farewell to those that are left, and what is still to be shipped.
        var drain = TimeSpan.TryParse(builder.Configuration[$"{ProxyOptions.Section}:{nameof(ProxyOptions.DrainTimeout)}"], CultureInfo.InvariantCulture, out var own)
            ? own
            : new ProxyOptions().DrainTimeout;
        services.Configure<HostOptions>(host =>
        {
            // Read while the host is built: before the options are checked, so nothing here may rely on that.
            var needed = TimeSpan.FromSeconds(Math.Clamp(drain.TotalSeconds, 0, 600) + 25);
            host.ShutdownTimeout = host.ShutdownTimeout > needed ? host.ShutdownTimeout : needed;
        });

        services.AddSingleton<GatewayCertificate>();
        services.AddSingleton(provider => GroupKey.LoadOrCreate(System.IO.Path.Combine(
            provider.GetRequiredService<EmbeddedData>().Keys, $"proxy-group-{provider.GetRequiredService<IOptions<ProxyOptions>>().Value.Group}.key")));
        services.AddSingleton(provider => new StoredCredentials(provider.GetRequiredKeyedService<ITargetSecrets>(AppIds.Proxy)));
        AddControlPlane(services);
        AddPath(services);
        services.AddRecording(builder.Configuration);
        services.AddMetrics();
        services.AddSingleton<ProxyMetrics>();
        services.AddHostedService(provider => provider.GetRequiredService<ProxyMetrics>());
        services.AddSingleton<ProxyListener>();
        services.AddSingleton<AheadRequests>();
        services.AddHostedService(provider => provider.GetRequiredService<ProxyListener>());
        services.AddReadiness("proxy", static (provider, _) => ValueTask.FromResult(provider.GetRequiredService<ProxyListener>().Problem));
        return builder;
    }

    /// <summary>Maps the routes of the proxy, all below <c>/proxy</c>.</summary>
    public static IEndpointRouteBuilder MapProxyService(this IEndpointRouteBuilder app)
    {
        ProxyEndpoints.Map(app);
        return app;
    }

    private static void AddControlPlane(IServiceCollection services)
    {
        services.AddSingleton<Freshness>();
        services.AddSingleton<IFreshness>(provider => provider.GetRequiredService<Freshness>());
        services.AddSingleton<SessionRegistry>();
        services.AddSingleton<HighestBundle>();
        services.AddSingleton<HighestRevocation>();
        services.AddSingleton<BundleWatch>();
        services.AddSingleton<IBundleSource>(provider => provider.GetRequiredService<BundleWatch>());
        services.AddHostedService(provider => provider.GetRequiredService<BundleWatch>());
        services.AddSingleton<RevocationWatch>();
        services.AddHostedService(provider => provider.GetRequiredService<RevocationWatch>());
        services.AddSingleton<RunningGrants>();
        services.AddSingleton<GrantWatch>();
        services.AddHostedService(provider => provider.GetRequiredService<GrantWatch>());
        services.AddSingleton<HttpApprovals>();
        services.AddSingleton<IApprovals>(provider => provider.GetRequiredService<HttpApprovals>());
        services.AddSingleton<HttpNativeLogins>();
        services.AddSingleton<INativeLogins, MeasuredLogins>();
        services.AddSingleton<IConnections, BundleConnections>();
        services.AddSingleton<ISessionAdmission, SessionAdmission>();
        Subscribe(services, Topics.Policy, static (provider, change) => provider.GetRequiredService<BundleWatch>().OnEventAsync(change));
        Subscribe(services, Topics.Identity, static (provider, change) => provider.GetRequiredService<RevocationWatch>().OnEventAsync(change));
        Subscribe(services, Topics.Approvals, static (provider, change) => provider.GetRequiredService<HttpApprovals>().OnChangedAsync(change));
    }

    private static void AddPath(IServiceCollection services)
    {
        services.AddSingleton<IDecider, Decider>();
        services.AddSingleton(_ => new SqlParser(LibPgQuery.Load()));
        services.AddSingleton(provider => new PostgresCatalogs(
            definition => ParseView(provider.GetRequiredService<SqlParser>(), definition), provider.GetRequiredService<TimeProvider>()));
    }

    // Called while a catalog is read, never on an operation's path.
    private static SqlAnalysis? ParseView(SqlParser parser, string definition)
    {
        var analysis = parser.AnalyzeAsync(Encoding.UTF8.GetBytes(definition)).AsTask().GetAwaiter().GetResult();
        return analysis.Facts.Complete ? analysis : null;
    }

    private static void Subscribe(IServiceCollection services, string topic, Func<IServiceProvider, BusEvent, ValueTask> handle) =>
        // Each proxy must hear of it: the client that waits is at one of them.
        services.AddSingleton(provider => new BusSubscription(AppIds.Proxy, topic, (change, _) => handle(provider, change)) { EveryInstance = true });
}
