using System.Text.RegularExpressions;
using Countersign.Deploy.Tests.Support;

namespace Countersign.Deploy.Tests;

/// <summary>components/: every file is what Dapr expects, is for named apps only, holds no secret, and loses no event by a default.</summary>
[Trait("group", "distributed")]
public sealed partial class ComponentTests
{
    // Names of settings that Dapr 1.18 knows for each type; a wrong name is ignored by the sidecar without a word.
    private static readonly Dictionary<string, string[]> Known = new()
    {
        ["state.postgresql/v2"] = ["connectionString", "actorStateStore", "tablePrefix", "metadataTableName", "timeout", "maxConns", "cleanupInterval"],
        ["configuration.redis/v1"] = ["redisHost", "redisUsername", "redisPassword", "enableTLS"],
        ["state.redis/v1"] = ["redisHost", "actorStateStore"],
        ["pubsub.redis/v1"] =
        [
            "redisHost", "redisUsername", "redisPassword", "enableTLS", "consumerID", "concurrency", "queueDepth", "processingTimeout", "redeliverInterval", "streamTTL", "maxLenApprox", .. Topics,
        ],
        ["pubsub.kafka/v1"] =
        [
            "brokers", "authType", "saslMechanism", "saslUsername", "saslPassword", "caCert", "consumerGroup", "initialOffset", "consumeRetryEnabled", "consumeRetryInterval",
            "producerRequiredAcks", "producerRetryMax", "maxMessageBytes", "version", .. Topics,
        ],
        ["pubsub.rabbitmq/v1"] =
        [
            "connectionString", "consumerID", "durable", "deletedWhenUnused", "deliveryMode", "publisherConfirm", "autoAck", "requeueInFailure", "enableDeadLetter", "concurrency",
            "prefetchCount", "exchangeKind", "reconnectWaitSeconds", "maxLen", .. Topics,
        ],
        ["secretstores.local.file/v1"] = ["secretsFile", "nestedSeparator", "multiValued"],
        ["secretstores.hashicorp.vault/v1"] =
            ["vaultAddr", "caPath", "skipVerify", "vaultTokenMountPath", "enginePath", "vaultKVUsePrefix", "vaultKVPrefix", "vaultValueType"],
    };

    public static TheoryData<string> Files => [.. DaprFiles.Paths];

    private static string[] Topics => ["allowedTopics", "protectedTopics", "publishingScopes", "subscriptionScopes"];

    [Theory]
    [MemberData(nameof(Files))]
    public void A_file_is_one_resource_that_dapr_knows(string path)
    {
        switch (DaprFiles.Read(path))
        {
            case Component component:
                Assert.Equal("dapr.io/v1alpha1", component.ApiVersion);
                var known = Known[$"{component.Spec.Type}/{component.Spec.Version}"];
                Assert.Empty(component.Spec.Metadata.Select(item => item.Name).Except(known));
                Assert.Equal(component.Spec.Metadata.Count, component.Spec.Metadata.DistinctBy(item => item.Name).Count());
                Assert.All(component.Spec.Metadata, item => Assert.Single(new object?[] { item.Value, item.SecretKeyRef, item.EnvRef }, given => given is not null));
                break;
            case Subscription subscription:
                Assert.Equal("dapr.io/v2alpha1", subscription.ApiVersion);
                break;
            case Resiliency resiliency:
                Assert.Equal("dapr.io/v1alpha1", resiliency.ApiVersion);
                break;
            case Configuration configuration:
                Assert.Equal("dapr.io/v1alpha1", configuration.ApiVersion);
                Assert.Equal(Path.GetFileNameWithoutExtension(path), configuration.Metadata.Name);
                break;
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void A_resource_is_for_named_apps_only(string path)
    {
        IReadOnlyList<string>? scopes = DaprFiles.Read(path) switch
        {
            Component component => component.Scopes,
            Subscription subscription => subscription.Scopes,
            Resiliency resiliency => resiliency.Scopes,
            _ => null,
        };
        if (scopes is null)
        {
            // Configurations have no scopes: a sidecar is given its own by name.
            Assert.StartsWith("components/", path, StringComparison.Ordinal);
            Assert.Equal("Configuration", DaprFiles.Kind(path));
            return;
        }

        Assert.NotEmpty(scopes);
        Assert.Empty(scopes.Except(DaprFiles.Services));
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void No_file_holds_a_secret(string path)
    {
        Assert.DoesNotMatch(PasswordInText(), Tree.Read(path));
        if (DaprFiles.Read(path) is not Component component)
        {
            return;
        }

        foreach (var item in component.Spec.Metadata.Where(item => SecretName().IsMatch(item.Name)))
        {
            Assert.True(item.SecretKeyRef is not null, $"{path}: {item.Name} is not a reference to a secret");
        }

        if (component.Spec.Metadata.Any(item => item.SecretKeyRef is not null))
        {
            Assert.Equal("secrets", component.Auth?.SecretStore);
        }
    }

    [Fact]
    public void Names_do_not_meet_in_what_one_sidecar_loads()
    {
        // A sidecar refuses to start if two resources of a kind have one name, also where the second is not for it.
        foreach (var bus in new[] { "redis", "kafka", "rabbitmq" })
        {
            foreach (var secrets in new[] { "file", "vault" })
            {
                string[] folders = ["components/resources/", "components/settings/redis/", $"components/pubsub/{bus}/", $"components/secrets/{secrets}/"];
                var names = DaprFiles.Paths.Where(path => folders.Any(folder => path.StartsWith(folder, StringComparison.Ordinal)))
                    .Select(path => $"{DaprFiles.Kind(path)} {Yaml.Parse(Tree.Read(path))["metadata"]!["name"]}").ToList();
                Assert.Equal(names.Distinct(), names);
                Assert.Contains("Component pubsub", names);
                Assert.Contains("Component statestore", names);
                Assert.Contains("Component secrets", names);
            }
        }
    }

    [Fact]
    public void Only_approval_has_the_actors_store()
    {
        var stores = DaprFiles.Components.Where(each => each.Component.Spec.Type.StartsWith("state.", StringComparison.Ordinal)).ToList();
        Assert.Equal(["components/development/statestore.yaml", "components/resources/statestore.yaml"], stores.Select(each => each.Path));
        Assert.All(stores, each => Assert.Equal(["approval"], each.Component.Scopes));
        Assert.All(stores, each => Assert.Equal("true", each.Component.Spec["actorStateStore"]));
        Assert.Equal(("state.postgresql", "v2"), (stores[1].Component.Spec.Type, stores[1].Component.Spec.Version));
    }

    [Fact]
    public void What_is_for_development_is_on_loopback_and_nothing_else_uses_it()
    {
        var development = DaprFiles.Components.Where(each => each.Path.StartsWith("components/development/", StringComparison.Ordinal)).ToList();
        Assert.Equal(["news", "pubsub", "statestore"], development.Select(each => each.Component.Metadata.Name).Order());
        Assert.All(development, each => Assert.StartsWith("127.0.0.1:", each.Component.Spec["redisHost"], StringComparison.Ordinal));
        Assert.All(new[] { "docker-compose.yml", "docker-compose.demo.yml", "cluster.sh", "publish.sh", "Dockerfile" }, file => Assert.DoesNotContain("components/development", Tree.Read(file), StringComparison.Ordinal));
    }

    [Fact]
    public void Only_a_proxy_reads_credentials_of_targets()
    {
        var stores = DaprFiles.Components.Where(each => each.Component.Metadata.Name == "target-credentials").ToList();
        Assert.Equal(2, stores.Count);
        Assert.All(stores, each => Assert.Equal(["proxy"], each.Component.Scopes));

        // An object is one secret: else the proxy would find no secret of a connection's name.
        Assert.All(stores, each => Assert.True(each.Component.Spec["multiValued"] == "true" || each.Component.Spec["vaultValueType"] == "map", each.Path));
        Assert.All(stores, each => Assert.Equal(new Countersign.Platform.Dapr.DaprOptions().TargetSecretStore, each.Component.Metadata.Name));
        foreach (var (name, configuration) in DaprFiles.Configurations)
        {
            var scopes = configuration.Spec.Secrets.Scopes;
            Assert.Equal(name == "proxy" ? "allow" : "deny", Assert.Single(scopes, scope => scope.StoreName == "target-credentials").DefaultAccess);
            var own = Assert.Single(scopes, scope => scope.StoreName == "secrets");
            Assert.Equal("deny", own.DefaultAccess);
            Assert.Equal([$"{name}-connection"], own.AllowedSecrets);
        }
    }

    [Fact]
    public void Every_service_has_a_configuration_that_denies_by_default()
    {
        Assert.Equal(DaprFiles.Services.Order(), DaprFiles.Configurations.Keys.Order());
        foreach (var configuration in DaprFiles.Configurations.Values)
        {
            Assert.True(configuration.Spec.Mtls.Enabled);
            var control = configuration.Spec.AccessControl;
            Assert.Equal("deny", control.DefaultAction);
            Assert.Equal("countersign", control.TrustDomain);
            Assert.All(control.Policies, policy => Assert.Equal(("deny", "countersign", "default"), (policy.DefaultAction, policy.TrustDomain, policy.Namespace)));
            Assert.All(control.Policies.SelectMany(policy => policy.Operations), operation => Assert.Equal("allow", operation.Action));
            Assert.All(control.Policies.SelectMany(policy => policy.Operations).SelectMany(operation => operation.HttpVerb), verb => Assert.Contains(verb, new[] { "GET", "POST", "PUT", "DELETE" }));
        }
    }

    [Fact]
    public void Only_approval_may_use_state_and_actors_and_a_proxy_publishes_nothing()
    {
        foreach (var (name, configuration) in DaprFiles.Configurations)
        {
            var apis = configuration.Spec.Api.Allowed;
            Assert.Equal(name == "approval", apis.Any(api => api.Name is "state" or "actors"));
            Assert.Equal(name != "proxy", apis.Any(api => api.Name == "publish"));
            Assert.DoesNotContain(apis, api => api.Name is "shutdown" or "bindings" or "workflows" or "jobs" or "crypto" or "lock" or "conversation");
            Assert.All(apis, api => Assert.Equal(api.Protocol == "grpc" ? "v1" : "v1.0", api.Version));
        }
    }

    [Theory]
    [InlineData("redis")]
    [InlineData("kafka")]
    [InlineData("rabbitmq")]
    public void Subscriptions_are_those_of_the_code(string bus)
    {
        // Every instance hears news itself; the rest is shared by the replicas of a service, and what they can't handle has a topic of its own that they read too.
        var expected = ServiceRoutes.Subscriptions.SelectMany(each => each.News
            ? new[] { $"{each.Subscriber} news {each.Topic} /dapr/news/{each.Topic} -" }
            : [$"{each.Subscriber} pubsub {each.Topic} /dapr/events/{each.Topic} dead.{each.Subscriber}.{each.Topic}", $"{each.Subscriber} pubsub dead.{each.Subscriber}.{each.Topic} /dapr/dead/{each.Topic} -"]);
        Assert.Equal(
            expected.Order(),
            DaprFiles.Subscriptions.Where(each => !each.Path.StartsWith("components/pubsub/", StringComparison.Ordinal) || each.Path.StartsWith($"components/pubsub/{bus}/", StringComparison.Ordinal))
                .Select(each => each.Subscription)
                .Select(each => $"{Assert.Single(each.Scopes)} {each.Spec.Pubsubname} {each.Spec.Topic} {each.Spec.Routes.Default} {each.Spec.DeadLetterTopic ?? "-"}").Order());
    }

    [Theory]
    [InlineData("redis")]
    [InlineData("kafka")]
    [InlineData("rabbitmq")]
    public void A_broker_lets_each_app_publish_and_read_what_its_code_does(string bus)
    {
        var spec = Bus(bus);
        var shared = ServiceRoutes.Subscriptions.Where(each => !each.News).ToList();
        string[] all = ["audit", "policy", "approvals", "identity", .. shared.Select(each => $"dead.{each.Subscriber}.{each.Topic}")];
        Assert.Equal(all.Order(), spec["allowedTopics"]!.Split(',').Order());
        // A topic that isn't protected is open to every app that has no scope of its own.
        Assert.Equal(all.Order(), spec["protectedTopics"]!.Split(',').Order());

        var publish = Scopes(spec["publishingScopes"]!);
        var read = Scopes(spec["subscriptionScopes"]!);
        foreach (var app in DaprFiles.Services)
        {
            var own = shared.Where(each => each.Subscriber == app).Select(each => each.Topic).ToList();
            var letters = own.Select(topic => $"dead.{app}.{topic}").ToList();
            Assert.Equal(PublishedInCode(app).Concat(letters).Order(), publish.GetValueOrDefault(app, []).Order());
            Assert.Equal(own.Concat(letters).Order(), read.GetValueOrDefault(app, []).Order());
        }
    }

    [Theory]
    [InlineData("redis", "consumerID")]
    [InlineData("kafka", "consumerGroup")]
    [InlineData("rabbitmq", "consumerID")]
    public void Every_instance_hears_all_news_and_says_nothing_there(string bus, string group)
    {
        var (_, news) = Assert.Single(DaprFiles.Components, each => each.Path == $"components/pubsub/{bus}/news.yaml");
        Assert.Equal(ServiceRoutes.Subscriptions.Where(each => each.News).Select(each => each.Subscriber).Distinct().Order(), news.Scopes.Order());
        Assert.Equal("{podName}", news.Spec[group]);
        Assert.Equal("{appID}", Bus(bus)[group]);
        Assert.Null(news.Spec["publishingScopes"]);
        var heard = ServiceRoutes.Subscriptions.Where(each => each.News).Select(each => each.Topic).Distinct().Order().ToList();
        Assert.Equal(heard, news.Spec["protectedTopics"]!.Split(',').Order());
        Assert.Equal(heard, news.Spec["allowedTopics"]!.Split(',').Order());
        var read = Scopes(news.Spec["subscriptionScopes"]!);
        Assert.All(news.Scopes, app => Assert.Equal(ServiceRoutes.Subscriptions.Where(each => each.News && each.Subscriber == app).Select(each => each.Topic).Order(), read[app].Order()));
        Assert.Equal(news.Scopes.Order(), read.Keys.Order());
        Assert.Empty(PublishedInCode("proxy"));
        Assert.DoesNotContain("proxy", DaprFiles.Components.Single(each => each.Path == $"components/pubsub/{bus}/pubsub.yaml").Component.Scopes);
    }

    [Fact]
    public void Redis_gives_up_nothing_that_is_new_and_hands_out_nothing_that_is_still_being_tried()
    {
        var spec = Bus("redis");
        Assert.True(int.Parse(spec["concurrency"]!, System.Globalization.CultureInfo.InvariantCulture) > 1);
        var deliver = Yaml.Read<Resiliency>(Tree.Read("components/resources/resiliency.yaml")).Spec.Policies.Retries["deliver"];
        var attempts = Enumerable.Range(0, deliver.MaxRetries).Sum(attempt => Math.Min(Seconds(deliver.MaxInterval!), Milliseconds(deliver.Duration!) / 1000 * Math.Pow(1.5, attempt)));
        Assert.True(Seconds(spec["processingTimeout"]!) > attempts, $"{attempts} s");
        Assert.True(Seconds(spec["redeliverInterval"]!) <= 30);
        Assert.Null(spec["maxLenApprox"]);
        Assert.Equal("72h", spec["streamTTL"]);
    }

    [Fact]
    public void Kafka_starts_with_the_oldest_and_waits_for_all_replicas()
    {
        var spec = Bus("kafka");
        Assert.Equal(("oldest", "all", "true"), (spec["initialOffset"], spec["producerRequiredAcks"], spec["consumeRetryEnabled"]));
        Assert.True(int.Parse(spec["maxMessageBytes"]!, System.Globalization.CultureInfo.InvariantCulture) >= 1024 * 1024);
    }

    [Fact]
    public void Rabbitmq_keeps_messages_and_queues_and_discards_nothing()
    {
        var spec = Bus("rabbitmq");
        Assert.Equal(("true", "false", "2", "true", "false", "parallel"), (spec["durable"], spec["deletedWhenUnused"], spec["deliveryMode"], spec["publisherConfirm"], spec["autoAck"], spec["concurrency"]));
        Assert.Equal(("true", "true"), (spec["requeueInFailure"], spec["enableDeadLetter"]));
        Assert.Null(spec["maxLen"]);

        // Both declare the same exchanges, and the broker refuses a declaration that differs.
        var news = Yaml.Read<Component>(Tree.Read("components/pubsub/rabbitmq/news.yaml")).Spec;
        Assert.All(new[] { "durable", "deletedWhenUnused", "exchangeKind" }, setting => Assert.Equal(spec[setting], news[setting]));
        Assert.NotNull(news["maxLen"]);
    }

    [Fact]
    public void Only_a_broker_that_can_delivers_in_bulk()
    {
        // Elsewhere the sidecar makes the bulk itself: its workers wait until there is a hundred or a time is over.
        Assert.Equal(["components/pubsub/kafka/subscription-recorder-audit.yaml"], DaprFiles.Subscriptions.Where(each => each.Subscription.Spec.BulkSubscribe is { Enabled: true }).Select(each => each.Path));
    }

    [Fact]
    public void Every_service_may_read_the_settings_that_the_code_takes_from_a_store_and_nobody_may_write_them()
    {
        Assert.All(DaprFiles.Configurations.Values, each => Assert.Contains(each.Spec.Api.Allowed, api => api is { Name: "configuration", Version: "v1", Protocol: "grpc" }));
        var store = Assert.Single(DaprFiles.Components, each => each.Component.Spec.Type.StartsWith("configuration.", StringComparison.Ordinal)).Component;
        Assert.Equal(DaprFiles.Services.Order(), store.Scopes.Order());
        var taken = Taken().Matches(Tree.Read("platform/Dapr/DaprConfiguration.cs")).Select(match => match.Groups[1].Value).ToList();
        Assert.Equal(6, taken.Count);
        Assert.All(taken, name => Assert.Contains($"`{name}`", Tree.Read("components/README.md"), StringComparison.Ordinal));
    }

    /// <summary>What a service may send or keep, its sidecar must take: 4 MiB is what Dapr takes by default.</summary>
    [Fact]
    public void Sidecars_take_what_services_send()
    {
        var code = Bytes(Tree.Read("platform/Dapr/DaprOptions.cs"), "LargestMessage");
        foreach (var file in new[] { "cluster.sh", "docker-compose.yml" })
        {
            var given = MaxBody().Matches(Tree.Read(file)).Select(match => long.Parse(match.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture) * 1024 * 1024).ToList();
            Assert.NotEmpty(given);
            Assert.Equal(SidecarStart().Count(Tree.Read(file)), given.Count);
            Assert.All(given, each => Assert.Equal(code, each));
        }

        Assert.True(Bytes(Tree.Read("services/approval/Actors/Dapr/DaprApprovalActors.cs"), "LargestMessage") < code);
        Assert.True(Bytes(Tree.Read("services/recorder/Host/RecorderService.cs"), "MaxBatch") < code);
        Assert.True(Bytes(Tree.Read("platform/Ports/StateKeys.cs"), "MaxValueLength") < code);

        static long Bytes(string text, string name) =>
            long.Parse(Regex.Match(text, $@"const (?:int|long) {name} = (\d+)L? \* 1024 \* 1024;").Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture) * 1024 * 1024;
    }

    [Fact]
    public void Actors_have_a_limit_for_a_turn()
    {
        // The types as approval registers them.
        var types = ActorType().Matches(Tree.Read("services/approval/Actors/Dapr/DaprWorkflowHost.cs")).Select(match => match.Groups[1].Value).Order().ToList();
        Assert.Equal(2, types.Count);
        Assert.Equal(types, Yaml.Read<Resiliency>(Tree.Read("components/resources/resiliency.yaml")).Spec.Targets.Actors!.Keys.Order());
    }

    [Fact]
    public void Sidecars_repeat_no_call_by_themselves_and_name_policies_that_exist()
    {
        var spec = Yaml.Read<Resiliency>(Tree.Read("components/resources/resiliency.yaml")).Spec;
        Assert.Equal(DaprFiles.Services.Order(), spec.Targets.Apps.Keys.Order());
        Assert.All(spec.Targets.Apps.Values, target => Assert.Equal(0, spec.Policies.Retries[target.Retry!].MaxRetries));
        var used = spec.Targets.Apps.Values.Concat(spec.Targets.Actors?.Values ?? []).Concat(spec.Targets.Components.Values.SelectMany(each => new[] { each.Inbound, each.Outbound }).OfType<PolicyNames>()).ToList();
        Assert.Equal(spec.Policies.Timeouts.Keys.Order(), used.Select(each => each.Timeout).OfType<string>().Distinct().Order());
        Assert.Equal(spec.Policies.Retries.Keys.Order(), used.Select(each => each.Retry).OfType<string>().Distinct().Order());
        Assert.Equal(spec.Policies.CircuitBreakers.Keys.Order(), used.Select(each => each.CircuitBreaker).OfType<string>().Distinct().Order());
        Assert.Contains("pubsub", spec.Targets.Components.Keys);
    }

    private static ComponentSpec Bus(string name) => Yaml.Read<Component>(Tree.Read($"components/pubsub/{name}/pubsub.yaml")).Spec;

    private static Dictionary<string, string[]> Scopes(string value) =>
        value.Split(';').Select(each => each.Split('=')).ToDictionary(each => each[0], each => each[1].Split(','));

    private static double Milliseconds(string value) => double.Parse(value[..^2], System.Globalization.CultureInfo.InvariantCulture);

    private static double Seconds(string value) => double.Parse(value.TrimEnd('s'), System.Globalization.CultureInfo.InvariantCulture);

    // The first argument of every PublishAsync of the service's code.
    private static IEnumerable<string> PublishedInCode(string app) =>
        Tree.Files($"services/{app}", "*.cs").Where(path => !path.Contains("/obj/", StringComparison.Ordinal))
            .SelectMany(path => Published().Matches(Tree.Read(path)).Select(match => match.Groups[1].Value.ToLowerInvariant())).Distinct();

    [GeneratedRegex("""public const string \w+ = "(\w+)";""")]
    private static partial Regex ActorType();

    [GeneratedRegex(@"\[""([A-Za-z:]+)""\] = value =>")]
    private static partial Regex Taken();

    [GeneratedRegex(@"--max-body-size=(\d+)Mi\b")]
    private static partial Regex MaxBody();

    [GeneratedRegex(@"--app-channel-address=")]
    private static partial Regex SidecarStart();

    [GeneratedRegex(@"PublishAsync\(\s*Topics\.(\w+)")]
    private static partial Regex Published();

    [GeneratedRegex(@"(?i)(password|secret|token)\s*[=:]\s*['""]?[A-Za-z0-9+/_\-]{6,}")]
    private static partial Regex PasswordInText();

    [GeneratedRegex("(?i)(password|connectionString|saslUsername|caCert|clientKey)$")]
    private static partial Regex SecretName();
}
