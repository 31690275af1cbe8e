using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Countersign.Deploy.Tests.Support;

namespace Countersign.Deploy.Tests;

/// <summary>docker-compose.yml and Dockerfile, which nothing here can run: what they name exists, nothing is open, nothing is secret, everything is pinned.</summary>
[Trait("group", "distributed")]
public sealed partial class ComposeTests
{
    private static readonly string[] Sidecars = [.. DaprFiles.Services.Select(app => $"{app}-sidecar")];

    private static readonly string[] Networks = [.. DaprFiles.Services.Select(app => $"{app}-network")];

    // A proxy has no database.
    private static readonly string[] Schemas = [.. DaprFiles.Services.Where(app => app != "proxy").Select(app => $"{app}-schema")];

    // Keys of a service in the Compose specification that these files use; anything else is a slip of the pen.
    private static readonly string[] Known =
    [
        "image", "build", "restart", "read_only", "user", "cap_drop", "cap_add", "security_opt", "tmpfs", "stop_grace_period", "healthcheck", "networks", "network_mode",
        "environment", "env_file", "secrets", "volumes", "ports", "depends_on", "command", "entrypoint",
    ];

    private static JsonObject Compose { get; } = Merged(Yaml.Parse(Tree.Read("docker-compose.yml"))).AsObject();

    private static JsonObject Services => Compose["services"]!.AsObject();

    [Fact]
    public void All_parts_are_there()
    {
        string[] all = [.. DaprFiles.Services, .. Sidecars, .. Networks, .. Schemas, "postgres", "redis", "sentry", "placement", "scheduler", "entrance", "trust"];
        Assert.Equal(all.Order(), Services.Select(each => each.Key).Order());
        Assert.Empty(Compose.Select(each => each.Key).Where(key => !key.StartsWith("x-", StringComparison.Ordinal)).Except(["name", "services", "networks", "volumes", "secrets"]));
        Assert.All(Services, each => Assert.Empty(each.Value!.AsObject().Select(pair => pair.Key).Except(Known)));
    }

    [Fact]
    public void Nothing_is_privileged_and_every_root_file_system_is_read_only()
    {
        foreach (var (name, service) in Services)
        {
            Assert.True(service!["read_only"]!.GetValue<bool>(), name);
            Assert.Equal(["ALL"], Texts(service["cap_drop"]));
            Assert.Equal(["no-new-privileges:true"], Texts(service["security_opt"]));
            if (name == "trust")
            {
                // Ends at once: it gives a folder to the user of the services, without a network.
                Assert.Equal("none", service["network_mode"]!.GetValue<string>());
                continue;
            }

            Assert.Matches("^[1-9][0-9]*:[1-9][0-9]*$", service["user"]!.GetValue<string>());
            Assert.Null(service["cap_add"]);
        }
    }

    /// <summary>A service that stops says so in its health and goes on working for five seconds: a sidecar that looks more rarely sends it what nobody takes any more.</summary>
    [Fact]
    public void A_sidecar_notices_that_its_service_stops_before_it_has_stopped()
    {
        var files = Services.Where(each => Sidecars.Contains(each.Key)).Select(each => string.Join(' ', Texts(each.Value!["command"]))).Append(Tree.Read("cluster.sh")).ToList();
        Assert.Equal(Sidecars.Length + 1, files.Count);
        foreach (var text in files)
        {
            int Flag(string name) => int.Parse(Regex.Match(text, $"--{name}=([0-9]+)").Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture);
            Assert.InRange(Flag("app-health-probe-interval") * Flag("app-health-threshold"), 2, 4);
        }
    }

    [Fact]
    public void Every_image_is_pinned_by_version()
    {
        foreach (var (name, service) in Services)
        {
            Assert.Matches(@"^[a-z0-9./-]+:(\d+\.\d+(\.\d+)?)(-[a-z0-9]+)?$", service!["image"]!.GetValue<string>());
            Assert.DoesNotContain("latest", service["image"]!.GetValue<string>(), StringComparison.Ordinal);
            Assert.Equal(DaprFiles.Services.Contains(name) || Schemas.Contains(name) || name == "entrance", service["build"] is not null);
        }

        Assert.All(Services.Where(each => Sidecars.Contains(each.Key)), each => Assert.Equal("daprio/daprd:1.18.3", each.Value!["image"]!.GetValue<string>()));
        foreach (var from in From().Matches(Tree.Read("Dockerfile")).Select(match => match.Groups[1].Value).Where(image => image.Contains(':', StringComparison.Ordinal)))
        {
            Assert.Matches(@":\d+\.\d+(\.\d+)?(-slim)?$", from);
        }
    }

    [Fact]
    public void Ports_are_published_on_loopback_only()
    {
        var published = Services.SelectMany(each => Texts(each.Value!["ports"]).Select(port => (each.Key, port))).ToList();
        Assert.Equal([("proxy-network", "127.0.0.1:5439:5439"), ("entrance", "127.0.0.1:8080:8080")], published);
        Assert.True(Compose["networks"]!["inside"]!["internal"]!.GetValue<bool>());
        // Databases, broker, control plane and services without business outside have no way out.
        Assert.All((string[])["postgres", "redis", "sentry", "placement", "scheduler", .. Schemas], name => Assert.Equal(["inside"], Texts(Services[name]!["networks"])));
        Assert.All(new[] { "policy-network", "recorder-network" }, name => Assert.Equal(["inside"], NetworksOf(name)));
        // To the identity provider, to receivers of notifications, to targets.
        Assert.All(new[] { "identity-network", "approval-network", "proxy-network" }, name => Assert.Equal(["inside", "outside"], NetworksOf(name)));
    }

    [Fact]
    public void A_service_writes_its_own_public_key_only()
    {
        foreach (var app in DaprFiles.Services)
        {
            var trust = Texts(Services[app]!["volumes"]).Where(volume => volume.StartsWith("trust", StringComparison.Ordinal)).ToList();
            Assert.Equal(DaprFiles.Services.Select(other => $"trust-{other}:/trust/{other}" + (other == app ? "" : ":ro")).Order(), trust.Order());
        }

        Assert.All(Services.Where(each => each.Key != "trust" && !DaprFiles.Services.Contains(each.Key)), each => Assert.DoesNotContain(Texts(each.Value!["volumes"]), volume => volume.StartsWith("trust", StringComparison.Ordinal)));
    }

    [Fact]
    public void What_is_needed_for_a_drain_stops_after_the_proxy()
    {
        // Compose stops whoever depends first.
        Assert.All(DaprFiles.Services, app => Assert.Contains($"{app}-sidecar", Needs(app)));
        Assert.All(DaprFiles.Services, app => Assert.DoesNotContain(app, Needs($"{app}-sidecar")));
        Assert.All(DaprFiles.Services.Where(app => app != "proxy"), app => Assert.Contains(app, Needs("proxy")));
        Assert.All(DaprFiles.Services.Where(app => app is not "proxy" and not "recorder"), app => Assert.Contains("recorder", Needs(app)));
        // Or a start would wait for itself.
        foreach (var (name, _) in Services)
        {
            var reached = new HashSet<string>();
            var next = new Queue<string>(Needs(name));
            while (next.TryDequeue(out var other))
            {
                Assert.NotEqual(name, other);
                if (reached.Add(other))
                {
                    Needs(other).ToList().ForEach(next.Enqueue);
                }
            }
        }
    }

    [Fact]
    public void No_value_is_a_secret()
    {
        var text = Tree.Read("docker-compose.yml") + Tree.Read("docker-compose.demo.yml") + Tree.Read("tye.yaml") + Tree.Read("Dockerfile");
        Assert.DoesNotMatch(SecretValue(), text);
        foreach (var (name, service) in Services)
        {
            foreach (var (variable, _) in service!["environment"] as JsonObject ?? [])
            {
                Assert.False(Regex.IsMatch(variable, "(?i)(password|token|secret)$"), $"{name}: {variable}");
            }
        }
    }

    [Fact]
    public void Every_file_and_secret_that_is_named_is_there()
    {
        var secrets = Compose["secrets"]!.AsObject().Select(each => each.Key).ToHashSet();
        var used = new HashSet<string>();
        foreach (var (name, service) in Services)
        {
            foreach (var secret in service!["secrets"] as JsonArray ?? [])
            {
                var source = secret is JsonObject long1 ? long1["source"]!.GetValue<string>() : secret!.GetValue<string>();
                Assert.True(secrets.Contains(source), $"{name}: {source}");
                used.Add(source);
            }

            foreach (var volume in Texts(service["volumes"]))
            {
                var source = volume.Split(':')[0];
                Assert.True(source.StartsWith("./", StringComparison.Ordinal) ? Directory.Exists(Tree.At(source)) : Compose["volumes"]!.AsObject().ContainsKey(source), $"{name}: {volume}");
            }

            foreach (var other in Needs(name))
            {
                Assert.True(Services.ContainsKey(other), $"{name}: {other}");
            }

            foreach (var file in Texts(service["env_file"]))
            {
                Assert.Matches(@"^\.countersign/secrets/[a-z]+\.env$", file);
            }
        }

        Assert.Equal(secrets.Order(), used.Order());
        // The private keys of authorities never go into a container.
        Assert.DoesNotContain(secrets, name => name.EndsWith("-ca.key", StringComparison.Ordinal));
    }

    [Fact]
    public void A_secret_goes_to_whoever_needs_it()
    {
        var holders = Services.SelectMany(each => (each.Value!["secrets"] as JsonArray ?? []).Select(secret => (Secret: secret is JsonObject named ? named["source"]!.GetValue<string>() : secret!.GetValue<string>(), Holder: each.Key)))
            .ToLookup(each => each.Secret, each => each.Holder);
        Assert.Equal(["proxy-sidecar"], holders["target-credentials.json"]);
        Assert.Equal(["sentry"], holders["dapr-issuer.key"]);
        Assert.Equal(["postgres"], holders["postgres-init.sql"]);
        foreach (var app in DaprFiles.Services)
        {
            Assert.Equal([$"{app}-sidecar"], holders[$"{app}-sidecar.json"]);
            Assert.Equal(app == "proxy" ? [] : [$"{app}-schema", app], holders[$"{app}-connection"]);
            // Whoever takes over a service must not own its schema.
            Assert.Equal(app == "proxy" ? [] : [$"{app}-schema"], holders[$"{app}-owner-connection"]);
            Assert.All(Services, each => Assert.False(Texts(each.Value!["env_file"]).Contains($".countersign/secrets/{app}.env") && each.Key != app && each.Key != $"{app}-sidecar", each.Key));
        }
    }

    [Fact]
    public void Whatever_can_be_asked_has_a_healthcheck()
    {
        // The images of Dapr have no shell and no client.
        foreach (var name in (string[])[.. DaprFiles.Services, "entrance", "postgres", "redis"])
        {
            var check = Services[name]!["healthcheck"]!;
            Assert.Equal("CMD", check["test"]![0]!.GetValue<string>());
            Assert.NotNull(check["interval"]);
            Assert.NotNull(check["retries"]);
        }
    }

    [Fact]
    public void A_schema_is_brought_up_to_date_by_what_ends_before_its_service_begins()
    {
        foreach (var schema in Schemas)
        {
            Assert.Equal("true", Services[schema]!["environment"]!["Countersign__Storage__PrepareOnly"]!.GetValue<string>());
            Assert.Equal("no", Services[schema]!["restart"]!.GetValue<string>());
            Assert.Equal("service_completed_successfully", Services[schema[..^"-schema".Length]]!["depends_on"]![schema]!["condition"]!.GetValue<string>());
        }
    }

    [Fact]
    public void A_sidecar_shares_the_network_of_its_service_and_loads_what_is_there()
    {
        foreach (var app in DaprFiles.Services)
        {
            var sidecar = Services[$"{app}-sidecar"]!;
            // Owned by neither of them: each can end and start again alone.
            Assert.Equal($"service:{app}-network", sidecar["network_mode"]!.GetValue<string>());
            Assert.Equal($"service:{app}-network", Services[app]!["network_mode"]!.GetValue<string>());
            // The address under which others find the sidecar is the one that all of them reach.
            var inside = Services[$"{app}-network"]!["networks"]!["inside"]!;
            Assert.Equal(inside["ipv4_address"]!.GetValue<string>(), sidecar["environment"]!["DAPR_HOST_IP"]!.GetValue<string>());
            Assert.Equal([app], Texts(inside["aliases"]));
            var command = Texts(sidecar["command"]).ToList();
            Assert.Contains($"--app-id={app}", command);
            Assert.Contains("--enable-mtls=true", command);
            Assert.Contains("--dapr-listen-addresses=127.0.0.1", command);
            Assert.Contains($"--config=/components/configuration/{app}.yaml", command);
            foreach (var path in command.Where(each => each.Contains("/components/", StringComparison.Ordinal)).Select(each => each[(each.IndexOf('=', StringComparison.Ordinal) + 1)..].TrimStart('/')))
            {
                Assert.True(Directory.Exists(Tree.At(path)) || File.Exists(Tree.At(path)), path);
            }

            Assert.Empty(Environment("components/pubsub/redis/", "components/secrets/file/", "components/resources/").Where(each => each.Scopes.Contains(app)).Select(each => each.Variable)
                .Except(sidecar["environment"]!.AsObject().Select(each => each.Key)));
            Assert.Equal($"{app}-1", sidecar["environment"]!["POD_NAME"]!.GetValue<string>());
        }
    }

    [Fact]
    public void Prometheus_can_scrape_every_service_across_containers()
    {
        var scrape = Yaml.Parse(Tree.Read("deploy/observability/prometheus-compose.yaml"));
        var targets = Texts(scrape["scrape_configs"]![0]!["static_configs"]![0]!["targets"]).ToList();
        Assert.Equal(DaprFiles.Services.Append("entrance").Select(name => $"{name}:8080").Order(), targets.Order());
        foreach (var name in targets.Select(target => target.Split(':')[0]))
        {
            Assert.Equal("${COUNTERSIGN_METRICS:-all}", Services[name]!["environment"]!["Countersign__Metrics"]!.GetValue<string>());
            Assert.Contains("inside", name == "entrance" ? Texts(Services[name]!["networks"]) : NetworksOf($"{name}-network"));
            Assert.True(name == "entrance" || Texts(Services[$"{name}-network"]!["networks"]!["inside"]!["aliases"]).Contains(name), name);
        }

        Assert.Equal(["alerts.yaml"], Texts(scrape["rule_files"]));
    }

    [Fact]
    public async Task All_recorders_sign_with_one_key_that_only_they_can_read()
    {
        var recorder = Services["recorder"]!;
        Assert.Contains("recorder-log.key", Texts(recorder["secrets"]));
        Assert.All(Services.Where(each => each.Key != "recorder"), each => Assert.DoesNotContain("recorder-log.key", Texts(each.Value!["secrets"])));
        var file = recorder["environment"]!["Countersign__Recorder__LogKeyFile"]!.GetValue<string>();
        Assert.Equal("/tmp/recorder-log.key", file);
        var command = recorder["entrypoint"]!.AsArray().Select(each => each!.GetValue<string>()).ToList();
        Assert.Equal(["bash", "-c"], command[..2]);
        var program = command[2].Split("exec ")[1];
        Assert.Contains($"ENTRYPOINT [\"{program}\"]", Tree.Read("Dockerfile"), StringComparison.Ordinal);

        // As it runs there, with the key as eng/secrets.sh --containers leaves it: readable by all within a folder that isn't.
        var folder = System.IO.Directory.CreateTempSubdirectory("cs-compose-").FullName;
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder, "recorder-log.key"), "PRIVATE+KEY+x");
            var script = command[2].Replace("/run/secrets", folder, StringComparison.Ordinal).Replace(file, Path.Combine(folder, "own.key"), StringComparison.Ordinal).Replace($"exec {program}", "true", StringComparison.Ordinal);
            using var shell = System.Diagnostics.Process.Start("bash", ["-c", script]);
            await shell.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.Equal(0, shell.ExitCode);
            Assert.Equal("PRIVATE+KEY+x", await File.ReadAllTextAsync(Path.Combine(folder, "own.key"), TestContext.Current.CancellationToken));
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(folder, "own.key")));
        }
        finally
        {
            System.IO.Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void The_demo_only_adds_to_what_there_is()
    {
        var demo = Yaml.Parse(Tree.Read("docker-compose.demo.yml"));
        Assert.Equal(["services"], demo.AsObject().Select(each => each.Key));
        Assert.All(demo["services"]!.AsObject(), each => Assert.True(Services.ContainsKey(each.Key)));
    }

    [Fact]
    public void Docker_builds_what_is_in_the_repository()
    {
        var text = Tree.Read("Dockerfile");
        var stages = Stage().Matches(text).Select(match => match.Groups[1].Value).ToList();
        string[] images = [.. DaprFiles.Services, "entrance", "standalone"];
        Assert.Equal(["build", "grammar", "base", .. images], stages);
        Assert.All(Services.Where(each => each.Value!["build"] is not null), each => Assert.Contains(each.Value!["build"]!["target"]!.GetValue<string>(), images));

        var ignored = Tree.Read(".dockerignore").Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("**", ignored.First(line => line[0] != '#'));
        var allowed = ignored.Where(line => line[0] == '!').Select(line => line[1..].TrimEnd('/')).ToList();
        var copied = Copy().Matches(text).SelectMany(match => match.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries)[..^1]).ToList();
        Assert.NotEmpty(copied);
        foreach (var path in copied)
        {
            Assert.True(File.Exists(Tree.At(path)) || Directory.Exists(Tree.At(path)), path);
            Assert.Contains(path.TrimEnd('/'), allowed);
        }

        var published = Publish().Matches(text).ToDictionary(match => match.Groups[2].Value, match => match.Groups[1].Value);
        Assert.Equal(images.Order(), published.Keys.Order());
        foreach (var (image, project) in published)
        {
            var file = Assert.Single(Directory.GetFiles(Tree.At(project), "*.csproj"));
            // Everything that it is built of is copied into the build.
            foreach (var reference in References(file))
            {
                Assert.Contains(copied, path => Tree.Relative(reference).StartsWith(path, StringComparison.Ordinal));
            }

            // The last stage starts the program that the project makes.
            var stage = text[text.IndexOf($" AS {image}\n", StringComparison.Ordinal)..];
            stage = stage.IndexOf("\nFROM ", StringComparison.Ordinal) is var end and > 0 ? stage[..end] : stage;
            Assert.Contains($"COPY --from=build /out/{image} /app", stage, StringComparison.Ordinal);
            Assert.Contains($"ENTRYPOINT [\"/app/{Path.GetFileNameWithoutExtension(file)}\"]", stage, StringComparison.Ordinal);
            Assert.Equal(References(file).Any(path => path.EndsWith("Countersign.Proxy.Sql.csproj", StringComparison.Ordinal)), stage.Contains("--from=grammar", StringComparison.Ordinal));
        }

        Assert.Contains("USER 1654:1654", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Tye_names_projects_that_are_there()
    {
        var tye = Yaml.Parse(Tree.Read("tye.yaml"));
        var projects = ((JsonArray)tye["services"]!).ToDictionary(each => each!["name"]!.GetValue<string>(), each => each!["project"]!.GetValue<string>());
        Assert.Equal(DaprFiles.Services.Append("entrance").Order(), projects.Keys.Order());
        Assert.All(projects.Values, path => Assert.True(File.Exists(Tree.At(path)), path));
        Assert.True(Directory.Exists(Tree.At(tye["extensions"]![0]!["components-path"]!.GetValue<string>())));
        Assert.Contains("archived", Tree.Read("tye.yaml"), StringComparison.Ordinal);
        // Its components have no subscriptions, so each service must say its own.
        Assert.All(((JsonArray)tye["services"]!).Where(each => each!["name"]!.GetValue<string>() != "entrance"), each => Assert.Contains(
            (JsonArray)each!["env"]!, one => one!["name"]!.GetValue<string>() == "Countersign__Dapr__DeclarativeSubscriptions" && one["value"]!.GetValue<string>() == "false"));
        Assert.True(Tree.Read("tye.yaml").Split('\n').Length < 80, "tye.yaml is kept thin");
    }

    // Project files that a project is built of, itself included.
    private static HashSet<string> References(string project, HashSet<string>? known = null)
    {
        known ??= [];
        if (known.Add(Path.GetFullPath(project)))
        {
            foreach (Match reference in ProjectReference().Matches(File.ReadAllText(project)))
            {
                References(reference.Groups[1].Value.Replace("$(Root)", Tree.Root + "/", StringComparison.Ordinal), known);
            }
        }

        return known;
    }

    private static IEnumerable<(string Variable, IReadOnlyList<string> Scopes)> Environment(params string[] folders) =>
        DaprFiles.Components.Where(each => folders.Any(folder => each.Path.StartsWith(folder, StringComparison.Ordinal)))
            .SelectMany(each => each.Component.Spec.Metadata.Select(item => item.EnvRef).OfType<string>().Select(variable => (variable, each.Component.Scopes)));

    private static IEnumerable<string> Needs(string name) => Services[name]!["depends_on"] switch { JsonObject map => map.Select(each => each.Key), JsonArray list => Texts(list), _ => [] };

    private static IEnumerable<string> NetworksOf(string name) => Services[name]!["networks"]!.AsObject().Select(each => each.Key).Order();

    private static IEnumerable<string> Texts(JsonNode? node) => node is JsonArray list ? list.Select(each => each is JsonValue ? each.ToString() : each!["source"]!.GetValue<string>()) : [];

    // YAML's merge key, which Compose reads: what stands beside it counts more.
    private static JsonNode Merged(JsonNode node)
    {
        foreach (var (_, child) in (node as JsonObject ?? []).ToList())
        {
            if (child is JsonObject)
            {
                Merged(child);
            }
        }

        if (node is JsonObject map && map.Remove("<<", out var inherited))
        {
            foreach (var (key, value) in inherited!.AsObject())
            {
                if (!map.ContainsKey(key))
                {
                    map[key] = value?.DeepClone();
                }
            }
        }

        return node;
    }

    [GeneratedRegex(@"(?m)^FROM (\S+)")]
    private static partial Regex From();

    [GeneratedRegex(@"(?m)^FROM \S+ AS (\w+)")]
    private static partial Regex Stage();

    [GeneratedRegex(@"(?m)^COPY (?!--from)(.+)$")]
    private static partial Regex Copy();

    [GeneratedRegex(@"(?m)^RUN dotnet publish (\S+) .*-o /out/(\w+)$")]
    private static partial Regex Publish();

    [GeneratedRegex("""ProjectReference Include="([^"]+)""")]
    private static partial Regex ProjectReference();

    [GeneratedRegex(@"(?im)(password|secret|token)[a-z_]*\s*[:=]\s*['""]?[A-Za-z0-9+/]{8,}['""]?\s*$")]
    private static partial Regex SecretValue();
}
