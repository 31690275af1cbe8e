using System.Collections.Concurrent;
using System.Net.Http.Json;
using System.Runtime.InteropServices;
using Countersign.Fakes.Sidecar;

namespace Countersign.Fakes.DaprBinaries;

/// <summary>
/// Stands in for the programs <c>daprd</c>, <c>placement</c>, <c>scheduler</c> and <c>sentry</c>, so that cluster.sh can be run where they can't be had: the first argument
/// says which of them it is, the others are its flags. All sidecars live in the process that is placement; daprd tells it about itself and takes itself away at its end.
/// </summary>
internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        try
        {
            var flags = Flags.Parse(arguments[0], arguments[1..]);
            await (arguments[0] switch
            {
                "sentry" => SentryAsync(flags),
                "placement" => PlacementAsync(flags),
                "scheduler" => SchedulerAsync(flags),
                _ => DaprdAsync(flags),
            });
            return 0;
        }
        catch (ArgumentException error)
        {
            await Console.Error.WriteLineAsync($"fatal: {error.Message}");
            return 1;
        }
    }

    private static async Task SentryAsync(Flags flags)
    {
        foreach (var file in new[] { "ca.crt", "issuer.crt", "issuer.key" })
        {
            Flags.ExpectFile(Path.Combine(flags["issuer-credentials"], file));
        }

        await ServeAsync(flags, _ => { });
    }

    private static async Task SchedulerAsync(Flags flags)
    {
        ExpectTrust(flags);
        Flags.ExpectFile(flags["etcd-data-dir"]);
        await ServeAsync(flags, _ => { });
    }

    private static async Task PlacementAsync(Flags flags)
    {
        ExpectTrust(flags);
        await using var plane = new Plane(new PlaneOptions());
        var sidecars = new ConcurrentDictionary<string, Fakes.Sidecar.Sidecar>();
        await ServeAsync(flags, app =>
        {
            app.MapPost("/sidecars", async (SidecarOptions options) =>
            {
                var sidecar = await plane.AddAsync(options);
                sidecars[sidecar.Instance] = sidecar;
                return sidecar.Instance;
            });
            app.MapDelete("/sidecars/{instance}", async (string instance) =>
            {
                if (sidecars.TryRemove(instance, out var sidecar))
                {
                    await sidecar.DisposeAsync();
                }
            });
        });
    }

    private static async Task DaprdAsync(Flags flags)
    {
        flags.Expect("mode", "standalone");
        flags.Expect("enable-mtls", "true");
        flags.Expect("dapr-listen-addresses", "127.0.0.1");
        foreach (var path in flags.All("resources-path").Concat(flags.All("config")))
        {
            Flags.ExpectFile(path);
        }

        var anchors = Variable("DAPR_TRUST_ANCHORS");
        if (!anchors.StartsWith("-----BEGIN CERTIFICATE-----", StringComparison.Ordinal))
        {
            throw new ArgumentException("DAPR_TRUST_ANCHORS is no certificate");
        }

        foreach (var variable in new[] { "NAMESPACE", "POD_NAME", "COUNTERSIGN_REDIS_HOST", "COUNTERSIGN_NAMES_FILE" })
        {
            Variable(variable);
        }

        Flags.ExpectFile(Variable("COUNTERSIGN_SECRETS_FILE"));
        using var placement = new HttpClient { BaseAddress = new Uri($"http://{flags["placement-host-address"]}"), Timeout = TimeSpan.FromSeconds(30) };
        using var added = await placement.PostAsJsonAsync("/sidecars", new SidecarOptions
        {
            AppId = flags["app-id"],
            App = new Uri($"http://{flags["app-channel-address"]}:{flags["app-port"]}"),
            HttpPort = flags.Port("dapr-http-port"),
            GrpcPort = flags.Port("dapr-grpc-port"),
            ApiToken = Variable("DAPR_API_TOKEN"),
            AppToken = Variable("APP_API_TOKEN"),
            HealthPath = flags["app-health-check-path"],
            Configuration = await File.ReadAllTextAsync(flags.All("config").First()),
            MaxBody = 64 * 1024 * 1024,
            ReadBuffer = 64 * 1024,
        });
        added.EnsureSuccessStatusCode();
        var instance = await added.Content.ReadAsStringAsync();
        await TerminatedAsync();
        try
        {
            using var gone = await placement.DeleteAsync(new Uri($"/sidecars/{instance.Trim('"')}", UriKind.Relative));
        }
        catch (HttpRequestException)
        {
            // Placement is gone, and all sidecars with it.
        }
    }

    private static void ExpectTrust(Flags flags)
    {
        flags.Expect("tls-enabled", "true");
        flags.Expect("trust-domain", "countersign");
        Flags.ExpectFile(flags["trust-anchors-file"]);
    }

    private static string Variable(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : throw new ArgumentException($"{name} is not set");

    private static async Task ServeAsync(Flags flags, Action<WebApplication> map)
    {
        var builder = WebApplication.CreateSlimBuilder([$"--urls=http://127.0.0.1:{flags["healthz-port"]};http://127.0.0.1:{flags["port"]}"]);
        builder.Logging.ClearProviders();
        await using var app = builder.Build();
        app.MapGet("/healthz", () => "ok");
        map(app);
        await app.StartAsync();
        await TerminatedAsync();
        await app.StopAsync();
    }

    private static async Task TerminatedAsync()
    {
        var ended = new TaskCompletionSource();
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal =>
        {
            signal.Cancel = true;
            ended.TrySetResult();
        });
        await ended.Task;
    }
}
