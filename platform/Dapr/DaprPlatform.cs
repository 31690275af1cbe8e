using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Dapr.Client;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Dapr;

/// <summary>Composition of one service with a Dapr sidecar beside it.</summary>
public static class DaprPlatform
{
    /// <summary>Setting: how long a process goes on after it was asked to stop.</summary>
    private const string StopDelaySetting = "Countersign:StopDelay";

    // Longer than entrance and sidecars take to notice.
    private static readonly TimeSpan StopDelay = TimeSpan.FromSeconds(5);

    private static readonly string[] All = [AppIds.Identity, AppIds.Policy, AppIds.Approval, AppIds.Recorder, AppIds.Proxy];

    /// <summary>
    /// Registers what <see cref="EmbeddedPlatform.AddEmbeddedPlatform"/> does, over a sidecar: <see cref="IServiceClients"/> through its invocation, <see cref="IEventBus"/>
    /// through its pub/sub, <see cref="ISecrets"/>, and <see cref="IDocumentStore"/> over its state, keyed by app id. <see cref="IStateStore"/> is a database's
    /// business, since Dapr state can't be listed: one that is registered before is kept, else it is a file of this process.
    /// </summary>
    /// <param name="builder">Builder of the process.</param>
    /// <param name="appId">The one service of this process.</param>
    /// <param name="dataDirectory">Where its keys are kept.</param>
    public static IHostApplicationBuilder AddDaprPlatform(this IHostApplicationBuilder builder, string appId, string dataDirectory)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.AddLocalFiles(dataDirectory, appId);
        var options = DaprOptions.Read(builder.Configuration);
        var services = builder.Services;
        services.AddSingleton(options);
        services.AddSingleton<IValidateOptions<DaprOptions>, DaprOptionsCheck>();
        services.AddOptions<DaprOptions>().ValidateOnStart();
        if (options.Errors().Any())
        {
            // Nothing is built from options that are wrong; the check lists them all when the host starts.
            return builder;
        }

        if (string.IsNullOrEmpty(builder.Configuration[StopDelaySetting]))
        {
            services.Configure<StopOptions>(stop => stop.StopDelay = StopDelay);
        }

        services.AddSingleton(new OwnAppId(appId));
        services.AddSingleton(_ => new DaprClientBuilder()
            .UseHttpEndpoint(options.HttpEndpoint).UseGrpcEndpoint(options.GrpcEndpoint).UseDaprApiToken(options.ApiToken)
            .UseTimeout(TimeSpan.FromSeconds(options.TimeoutSeconds))
            .UseGrpcChannelOptions(new GrpcChannelOptions
            {
                ThrowOperationCanceledOnCancellation = true,
                MaxReceiveMessageSize = DaprOptions.LargestMessage,
                MaxSendMessageSize = DaprOptions.LargestMessage,
            }).Build());
        services.AddSingleton<EventSignatures>();
        services.AddSingleton<IEventBus, DaprEventBus>();
        services.AddSingleton<Subscriptions>();
        services.AddSingleton<StoredDeadLetters>();
        services.AddSingleton<IDeadLetters>(provider => provider.GetRequiredService<StoredDeadLetters>());
        services.AddMetrics();
        services.AddSingleton<DaprMetrics>();
        services.TryAddKeyedSingleton<IStateStore>(appId, (provider, _) =>
            new SqliteStateStore(Path.Combine(provider.GetRequiredService<EmbeddedData>().State, appId + ".db")));
        services.AddKeyedSingleton<IDocumentStore>(appId, (provider, _) => new DaprDocumentStore(provider.GetRequiredService<DaprClient>(), options));
        services.AddKeyedSingleton<ISecrets>(appId, (provider, _) => new DaprSecrets(provider.GetRequiredService<DaprClient>(), options));
        if (appId == AppIds.Proxy)
        {
            services.AddKeyedSingleton<ITargetSecrets>(appId, (provider, _) => new DaprTargetSecrets(provider.GetRequiredService<DaprClient>(), options));
        }

        services.AddKeyedSingleton<IServiceClients>(appId, (provider, _) =>
            new InvocationClients(appId, provider.GetRequiredService<IHttpClientFactory>(), builder.Configuration, options));
        foreach (var receiver in All)
        {
            services.AddServiceClient(appId, receiver).AddHttpMessageHandler(() => new SidecarHandler(options));
        }

        services.AddHttpClient(SidecarHandler.ClientName, client =>
        {
            client.BaseAddress = new Uri(options.HttpEndpoint + "/");
            client.Timeout = TimeSpan.FromSeconds(30);
        }).AddHttpMessageHandler(() => new SidecarHandler(options));
        services.AddReadiness("sidecar", static async (provider, cancellation) =>
        {
            using var client = provider.GetRequiredService<IHttpClientFactory>().CreateClient(SidecarHandler.ClientName);
            using var answer = await client.GetAsync(new Uri("v1.0/healthz/outbound", UriKind.Relative), cancellation);
            return answer.IsSuccessStatusCode ? null : $"the sidecar answered {(int)answer.StatusCode}";
        });
        DaprConfiguration.Add(builder, options);
        StorageSecret.Add(builder, options);
        return builder;
    }

    /// <summary>Maps what the sidecar calls, behind the app token. Call it before the routes of the service.</summary>
    public static WebApplication MapDaprPlatform(this WebApplication app)
    {
        ArgumentNullException.ThrowIfNull(app);
        app.UseMiddleware<AppTokenGuard>();
        EventEndpoints.Map(app);
        return app;
    }
}

/// <summary>The one service of this process.</summary>
public sealed record OwnAppId(string Value);
