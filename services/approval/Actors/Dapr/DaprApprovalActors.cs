using Countersign.Platform.Ports;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Countersign.Approval.Actors.Dapr;

/// <summary>Composition of the workflows as Dapr actors.</summary>
public static class DaprApprovalActors
{
    /// <summary>
    /// Largest message to an actor in bytes: the largest request that may be asked for (2.3 million characters of texts, each of which is six bytes at worst) in base64, and some.
    /// Sidecars take 64 MiB (<c>--max-body-size</c>).
    /// </summary>
    internal const long LargestMessage = 32 * 1024 * 1024;

    private static readonly TimeSpan Turn = TimeSpan.FromSeconds(20);

    /// <summary>Hosts the workflows as actors of this process, and reaches them through its sidecar.</summary>
    /// <remarks>Needs what <see cref="ApprovalActors.AddWorkflowParts"/> needs, and the stores and keys of the platform.</remarks>
    /// <param name="builder">Builder of the process.</param>
    /// <param name="httpEndpoint">Address of the sidecar's HTTP API.</param>
    /// <param name="apiToken">What the sidecar wants to be shown.</param>
    /// <param name="settings">How the workflows behave.</param>
    public static IHostApplicationBuilder AddDaprApprovalActors(this IHostApplicationBuilder builder, string httpEndpoint, string apiToken, WorkflowSettings settings)
    {
        ArgumentNullException.ThrowIfNull(builder);
        var services = builder.Services;
        services.AddWorkflowParts(settings);
        services.AddSingleton<ActorSeal>();
        services.AddSingleton<ActorDesk>();
        services.AddSingleton<RequestMirror>();
        services.AddSingleton<IWorkflowHost, DaprWorkflowHost>();
        services.AddActors(options =>
        {
            options.HttpEndpoint = httpEndpoint;
            options.DaprApiToken = apiToken;
            options.ActorIdleTimeout = TimeSpan.FromMinutes(5);
            options.ActorScanInterval = TimeSpan.FromSeconds(30);
            options.DrainOngoingCallTimeout = Turn;
            options.DrainRebalancedActors = true;
            options.Actors.RegisterActor<RequestActor>(DaprWorkflowHost.Request);
            options.Actors.RegisterActor<RequesterActor>(DaprWorkflowHost.Requester);
        });
        services.AddSingleton<IFinishedRequests, ActorFinishedRequests>();
        services.AddSingleton(provider => new BusSubscription(
            AppIds.Approval, Topics.Approvals, (changed, cancellation) => provider.GetRequiredService<RequestIndexFeed>().OnChangedAsync(changed, cancellation))
        {
            EveryInstance = true,
        });
        services.AddRequestKeeping();
        return builder;
    }

    /// <summary>Maps what the sidecar calls. The platform's guard of the app token must stand before it.</summary>
    public static IEndpointRouteBuilder MapDaprApprovalActors(this IEndpointRouteBuilder app)
    {
        app.MapActorsHandlers().WithMetadata(new RequestSizeLimitAttribute(LargestMessage));
        return app;
    }
}
