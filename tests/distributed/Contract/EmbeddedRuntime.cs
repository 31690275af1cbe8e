using Countersign.Platform.Embedded;
using Countersign.Platform.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>All services in one process.</summary>
internal sealed class EmbeddedRuntime : IPlatformRuntime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("cs-contract-").FullName;
    private WebApplication _app = null!;

    public static async Task<IPlatformRuntime> StartAsync(params AppSpec[] apps)
    {
        var runtime = new EmbeddedRuntime();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.AddCountersignHosting("contract");
        builder.Services.AddSingleton(new BusLimits { Attempts = 3, FirstPause = TimeSpan.FromMilliseconds(5) });
        builder.AddEmbeddedPlatform(runtime._folder, [.. apps.Select(app => app.AppId)]);
        foreach (var subscription in apps.SelectMany(app => app.Subscriptions))
        {
            builder.Services.AddSingleton(subscription);
        }

        PrivateFiles.WriteAtomically(Path.Combine(runtime._folder, "secrets", "contract"), System.Text.Encoding.UTF8.GetBytes(ContractApps.Secrets["contract"] + "\n"));
        foreach (var (name, text) in new[] { ("text", ContractApps.TargetAsText), ("values", System.Text.Json.JsonSerializer.Serialize(ContractApps.TargetAsValues)) })
        {
            PrivateFiles.WriteAtomically(Path.Combine(runtime._folder, "target-credentials", name), System.Text.Encoding.UTF8.GetBytes(text + "\n"));
        }

        var built = builder.Build();
        built.UseCountersignHosting();
        foreach (var app in apps)
        {
            app.Map(built);
        }

        await built.StartAsync();
        runtime._app = built;
        return runtime;
    }

    public IServiceProvider Of(string appId) => _app.Services;

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync();
        await _app.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }
}

/// <summary>The contract in one process.</summary>
public sealed class EmbeddedContractTests : PlatformContract
{
    private protected override Task<IPlatformRuntime> StartAsync(params AppSpec[] apps) => EmbeddedRuntime.StartAsync(apps);
}
