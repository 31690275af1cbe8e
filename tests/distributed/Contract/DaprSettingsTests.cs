using System.Net;
using System.Net.Sockets;
using Countersign.Fakes.Sidecar;
using Countersign.Platform.Dapr;
using Countersign.Platform.Ports;
using Dapr.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>Settings of a service with a sidecar: where they may come from, and what they may not say.</summary>
public sealed class DaprSettingsTests
{
    [Trait("group", "attacks")]
    [Theory]
    [InlineData("Countersign:Platform", "Embedded", false)]
    [InlineData("Countersign:Trust:Directory", "/tmp/x", false)]
    [InlineData("Countersign__Dapr__HttpEndpoint", "http://127.0.0.1:1", false)]
    [InlineData("Countersign:DevIssuer:Enabled", "true", false)]
    [InlineData("Kestrel:Endpoints:X", "http://0.0.0.0:80", false)]
    [InlineData("Countersign:Services:identity", "https://elsewhere.example", false)]
    [InlineData("Countersign:Storage:Postgres", "Host=elsewhere", false)]
    [InlineData("Countersign:Identity:BaseUrl", "https://elsewhere.example", false)]
    [InlineData("Countersign:Approval:PublicUrl", "https://elsewhere.example", false)]
    [InlineData("Countersign:Proxy:Group", "other", false)]
    [InlineData("Countersign:Proxy:MaxSessions", "200", true)]
    [InlineData("countersign:proxy:maxsessions", "1000", true)]
    [InlineData("Countersign:Proxy:MaxSessions", "1001", false)]
    [InlineData("Countersign:Proxy:MaxSessions", "-1", false)]
    [InlineData("Countersign:Proxy:StaleAfter", "00:00:20", true)]
    [InlineData("Countersign:Proxy:StaleAfter", "00:01:00", false)]
    [InlineData("Countersign:Proxy:DeadAfter", "1.00:00:00", false)]
    [InlineData("Countersign:Approval:MaxPending", "6", false)]
    [InlineData("Logging:LogLevel:Countersign", "Debug", true)]
    [InlineData("Logging:LogLevel:Countersign", "None", false)]
    [InlineData("Logging:LogLevel:Default", "Debug", false)]
    public void A_configuration_store_may_only_tighten(string key, string value, bool accepted) =>
        Assert.Equal(accepted, DaprConfiguration.Accepted([KeyValuePair.Create(key, value)]).Any());

    [Fact]
    public async Task Settings_come_from_the_store_where_the_process_was_started_without_them_and_a_database_from_the_sidecars_secrets()
    {
        var fleet = new DoubleFleet(DoubleFleet.Quick with
        {
            Configuration = new Dictionary<string, string> { ["Countersign:Proxy:MaxSessions"] = "20", ["Countersign:Approval:MaxPending"] = "2", ["Countersign:Services:policy"] = "http://127.0.0.1:1" },
        });
        var folder = Directory.CreateTempSubdirectory("cs-settings-").FullName;
        await using (fleet)
        {
            var (port, http, grpc) = (LoopbackPorts.Next(), LoopbackPorts.Next(), LoopbackPorts.Next());
            var tokens = SidecarRuntime.Tokens(AppIds.Proxy);
            await fleet.AddAsync(AppIds.Proxy, port, http, grpc, tokens, ContractApps.OtherRules);
            await using var host = await DaprHost.StartAsync(new AppSpec(AppIds.Proxy), folder, port, http, grpc, tokens, builder => builder.Configuration.AddInMemoryCollection(
                new Dictionary<string, string?>
                {
                    ["Countersign:Dapr:ConfigurationStore"] = "configstore",
                    ["Countersign:Approval:MaxPending"] = "3",
                    ["Countersign:Storage:PostgresSecret"] = "contract",
                }));
            var configuration = host.App.Configuration;
            Assert.Equal(("20", "3", null), (configuration["Countersign:Proxy:MaxSessions"], configuration["Countersign:Approval:MaxPending"], configuration["Countersign:Services:policy"]));
            Assert.Equal(ContractApps.Secrets["contract"], configuration["Countersign:Storage:Postgres"]);
            await Assert.ThrowsAsync<InvalidOperationException>(() => DaprHost.StartAsync(new AppSpec(AppIds.Proxy), folder, LoopbackPorts.Next(), http, grpc, tokens, builder =>
                builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["Countersign:Storage:PostgresSecret"] = "other" })));
        }

        Directory.Delete(folder, recursive: true);
    }

    /// <summary>A session that begins waits for its credential no longer than that.</summary>
    [Fact]
    public async Task A_sidecar_that_says_nothing_has_no_secret()
    {
        using var silent = new TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        var address = $"http://{silent.LocalEndpoint}";
        using var dapr = new DaprClientBuilder().UseHttpEndpoint(address).UseGrpcEndpoint(address).Build();
        var secrets = new DaprTargetSecrets(dapr, new DaprOptions { TimeoutSeconds = 1 });
        await Assert.ThrowsAsync<PortUnavailableException>(
            async () => await secrets.GetAsync("shop", TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("http://10.0.0.5:8080", false)]
    [InlineData("http://recorder:8080", false)]
    [InlineData("ftp://127.0.0.1", false)]
    [InlineData("recorder", false)]
    [InlineData("http://127.0.0.1:8080", true)]
    [InlineData("https://recorder.example", true)]
    public void Tokens_go_to_no_other_machine_in_clear(string address, bool good)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Countersign:Services:recorder"] = address,
            ["Countersign:Dapr:ApiToken"] = new string('a', 20),
            ["Countersign:Dapr:AppToken"] = new string('b', 20),
        });
        var folder = Directory.CreateTempSubdirectory("cs-settings-").FullName;
        builder.AddDaprPlatform(AppIds.Proxy, folder);
        using var app = builder.Build() as IDisposable;
        var validator = ((WebApplication)app!).Services.GetRequiredService<IStartupValidator>();
        if (good)
        {
            validator.Validate();
        }
        else
        {
            Assert.Contains("Countersign:Services:recorder", Assert.Throws<OptionsValidationException>(validator.Validate).Message, StringComparison.Ordinal);
        }

        Directory.Delete(folder, recursive: true);
    }
}
