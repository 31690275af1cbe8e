using System.Text.Json;
using System.Text.Json.Nodes;

namespace Countersign.Deploy.Tests.Support;

// The parts of Dapr's resource schemas (1.18) that these files use. Everything else is refused by the strict reader.

internal sealed record Named(string Name);

internal sealed record SecretReference(string Name, string Key);

internal sealed record MetadataItem(string Name, string? Value = null, SecretReference? SecretKeyRef = null, string? EnvRef = null);

internal sealed record ComponentSpec(string Type, string Version, IReadOnlyList<MetadataItem> Metadata)
{
    public string? this[string name] => Metadata.SingleOrDefault(item => item.Name == name)?.Value;
}

internal sealed record SecretStoreOf(string SecretStore);

internal sealed record Component(string ApiVersion, string Kind, Named Metadata, ComponentSpec Spec, IReadOnlyList<string> Scopes, SecretStoreOf? Auth = null);

internal sealed record Routes(string Default);

internal sealed record BulkSubscribe(bool Enabled, int MaxMessagesCount, int MaxAwaitDurationMs);

internal sealed record SubscriptionSpec(string Pubsubname, string Topic, Routes Routes, string? DeadLetterTopic = null, BulkSubscribe? BulkSubscribe = null);

internal sealed record Subscription(string ApiVersion, string Kind, Named Metadata, SubscriptionSpec Spec, IReadOnlyList<string> Scopes);

internal sealed record Retry(string Policy, string Duration, int MaxRetries, string? MaxInterval = null);

internal sealed record CircuitBreaker(int MaxRequests, string Interval, string Timeout, string Trip);

internal sealed record ResiliencyPolicies(
    IReadOnlyDictionary<string, string> Timeouts, IReadOnlyDictionary<string, Retry> Retries, IReadOnlyDictionary<string, CircuitBreaker> CircuitBreakers);

internal sealed record PolicyNames(string? Timeout = null, string? Retry = null, string? CircuitBreaker = null, string? CircuitBreakerScope = null);

internal sealed record Directions(PolicyNames? Inbound = null, PolicyNames? Outbound = null);

internal sealed record ResiliencyTargets(
    IReadOnlyDictionary<string, PolicyNames> Apps, IReadOnlyDictionary<string, Directions> Components, IReadOnlyDictionary<string, PolicyNames>? Actors = null);

internal sealed record ResiliencySpec(ResiliencyPolicies Policies, ResiliencyTargets Targets);

internal sealed record Resiliency(string ApiVersion, string Kind, Named Metadata, ResiliencySpec Spec, IReadOnlyList<string> Scopes);

internal sealed record Mtls(bool Enabled, string WorkloadCertTTL, string AllowedClockSkew);

internal sealed record Operation(string Name, IReadOnlyList<string> HttpVerb, string Action);

internal sealed record AppPolicy(string AppId, string DefaultAction, string TrustDomain, string Namespace, IReadOnlyList<Operation> Operations);

internal sealed record AccessControl(string DefaultAction, string TrustDomain, IReadOnlyList<AppPolicy> Policies);

internal sealed record Api(string Name, string Version, string Protocol);

internal sealed record Apis(IReadOnlyList<Api> Allowed);

internal sealed record SecretScope(string StoreName, string DefaultAccess, IReadOnlyList<string>? AllowedSecrets = null);

internal sealed record SecretScopes(IReadOnlyList<SecretScope> Scopes);

internal sealed record ApiLogging(bool Enabled, bool ObfuscateURLs);

internal sealed record Logging(ApiLogging ApiLogging);

internal sealed record HttpMetrics(bool IncreasedCardinality);

internal sealed record Metrics(bool Enabled, HttpMetrics Http);

internal sealed record ConfigurationSpec(Mtls Mtls, AccessControl AccessControl, Apis Api, SecretScopes Secrets, Logging Logging, Metrics Metrics);

internal sealed record Configuration(string ApiVersion, string Kind, Named Metadata, ConfigurationSpec Spec);

internal sealed record NameResolution(string Component, string Version, IReadOnlyDictionary<string, string> Configuration);

internal sealed record NameResolutionSpec(NameResolution NameResolution);

internal sealed record NameResolutionConfiguration(string ApiVersion, string Kind, Named Metadata, NameResolutionSpec Spec);

/// <summary>Everything below components/.</summary>
internal static class DaprFiles
{
    public static readonly string[] Services = ["identity", "policy", "approval", "recorder", "proxy"];

    public static IReadOnlyList<string> Paths => Tree.Files("components", "*.yaml");

    public static string Kind(string path) => Yaml.Parse(Tree.Read(path))["kind"]!.GetValue<string>();

    public static IEnumerable<(string Path, Component Component)> Components => All<Component>("Component");

    public static IEnumerable<(string Path, Subscription Subscription)> Subscriptions => All<Subscription>("Subscription");

    public static IReadOnlyDictionary<string, Configuration> Configurations =>
        Tree.Files("components/configuration", "*.yaml").Select(path => Yaml.Read<Configuration>(Tree.Read(path))).ToDictionary(each => each.Metadata.Name);

    /// <summary>Reads a file as what its kind says it is.</summary>
    public static object Read(string path) => Kind(path) switch
    {
        "Component" => Yaml.Read<Component>(Tree.Read(path)),
        "Subscription" => Yaml.Read<Subscription>(Tree.Read(path)),
        "Resiliency" => Yaml.Read<Resiliency>(Tree.Read(path)),
        "Configuration" when path.StartsWith("components/nameresolution/", StringComparison.Ordinal) => Yaml.Read<NameResolutionConfiguration>(Tree.Read(path)),
        "Configuration" => Yaml.Read<Configuration>(Tree.Read(path)),
        var kind => throw new JsonException($"{path}: unknown kind {kind}"),
    };

    private static IEnumerable<(string, T)> All<T>(string kind) =>
        Paths.Where(path => Kind(path) == kind).Select(path => (path, Yaml.Read<T>(Tree.Read(path))));
}
