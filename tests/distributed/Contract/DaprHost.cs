using Countersign.Platform.Dapr;
using Countersign.Platform.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>A service of the contract with a sidecar, whichever: only ports and tokens differ.</summary>
internal sealed class DaprHost : IAsyncDisposable
{
    private DaprHost(WebApplication app, int port) => (App, Port) = (app, port);

    public WebApplication App { get; }

    public int Port { get; }

    public Uri Address => new($"http://127.0.0.1:{Port}");

    public static async Task<DaprHost> StartAsync(
        AppSpec spec, string folder, int port, int httpPort, int grpcPort, (string Api, string App) tokens, Action<WebApplicationBuilder>? more = null, Action<WebApplication>? map = null,
        Action<IServiceCollection>? last = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        if (Environment.GetEnvironmentVariable("CS_TEST_LOG") is { Length: > 0 })
        {
            builder.Logging.AddSimpleConsole();
        }

        builder.WebHost.UseUrls($"http://127.0.0.1:{port}");
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Countersign:Platform"] = "Dapr",
            ["Countersign:StopDelay"] = "00:00:00",
            ["Countersign:Trust:Directory"] = Path.Combine(folder, "trust"),
            ["Countersign:Dapr:HttpEndpoint"] = $"http://127.0.0.1:{httpPort}",
            ["Countersign:Dapr:GrpcEndpoint"] = $"http://127.0.0.1:{grpcPort}",
            ["Countersign:Dapr:ApiToken"] = tokens.Api,
            ["Countersign:Dapr:AppToken"] = tokens.App,
            ["Countersign:Dapr:DeclarativeSubscriptions"] = "false",
        });
        builder.AddCountersignHosting("contract");
        more?.Invoke(builder);
        builder.AddDaprPlatform(spec.AppId, Path.Combine(folder, "data", spec.AppId));
        foreach (var subscription in spec.Subscriptions)
        {
            builder.Services.AddSingleton(subscription);
        }

        last?.Invoke(builder.Services);
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapDaprPlatform();
        app.MapDeadLetters(spec.AppId);
        spec.Map(app);
        map?.Invoke(app);
        await app.StartAsync();
        return new DaprHost(app, port);
    }

    public async ValueTask DisposeAsync()
    {
        await App.StopAsync();
        await App.DisposeAsync();
    }
}
