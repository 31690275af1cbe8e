using YamlDotNet.RepresentationModel;

namespace Countersign.Fakes.Sidecar;

/// <summary>A declarative subscription (dapr.io/v2alpha1).</summary>
/// <param name="Component">Pub/sub component.</param>
/// <param name="Topic">Topic.</param>
/// <param name="Route">Route of the app.</param>
/// <param name="DeadLetterTopic">Where what fails goes.</param>
/// <param name="Bulk">Most events of a delivery; 0 for one by one.</param>
/// <param name="Scopes">App ids; null for all.</param>
public sealed record DeclaredSubscription(string Component, string Topic, string Route, string? DeadLetterTopic, int Bulk, IReadOnlyList<string>? Scopes);

/// <summary>Reads the resources that real sidecars are given, so that what is tested is what is shipped.</summary>
public static class ComponentFiles
{
    /// <summary>
    /// Adds the components and subscriptions of some folders to options. Of secret stores the files say who has them and how they read; what is in them, the options do.
    /// </summary>
    public static PlaneOptions Load(PlaneOptions options, params string[] folders)
    {
        var pubSubs = new List<PubSubComponent>();
        var states = new List<StateComponent>();
        var subscriptions = new List<DeclaredSubscription>();
        var secrets = options.Secrets.ToList();
        foreach (var file in folders.SelectMany(folder => Directory.EnumerateFiles(folder, "*.yaml")))
        {
            var stream = new YamlStream();
            stream.Load(new StringReader(File.ReadAllText(file)));
            foreach (var document in stream.Documents.Select(each => (YamlMappingNode)each.RootNode))
            {
                var spec = Map(document, "spec");
                var scopes = document.Children.TryGetValue("scopes", out var listed) ? List(listed) : null;
                var type = spec is null ? null : Text(spec, "type");
                if (Text(document, "kind") == "Subscription")
                {
                    var bulk = Map(spec!, "bulkSubscribe");
                    subscriptions.Add(new DeclaredSubscription(
                        Text(spec!, "pubsubname")!, Text(spec!, "topic")!, Text(Map(spec!, "routes")!, "default")!, Text(spec!, "deadLetterTopic"),
                        bulk is not null && Text(bulk, "enabled") == "true" ? int.Parse(Text(bulk, "maxMessagesCount") ?? "100", System.Globalization.CultureInfo.InvariantCulture) : 0, scopes));
                }
                else if (type?.StartsWith("pubsub.", StringComparison.Ordinal) == true)
                {
                    var metadata = Metadata(spec!);
                    pubSubs.Add(new PubSubComponent(Text(Map(document, "metadata")!, "name")!)
                    {
                        PerInstance = (metadata.GetValueOrDefault("consumerID") ?? metadata.GetValueOrDefault("consumerGroup")) is "{podName}" or "{uuid}",
                        Scopes = scopes,
                        Protected = Items(metadata.GetValueOrDefault("protectedTopics")),
                        Allowed = Items(metadata.GetValueOrDefault("allowedTopics")),
                        PublishingScopes = Scoped(metadata.GetValueOrDefault("publishingScopes")),
                        SubscriptionScopes = Scoped(metadata.GetValueOrDefault("subscriptionScopes")),
                    });
                }
                else if (type?.StartsWith("secretstores.", StringComparison.Ordinal) == true)
                {
                    var name = Text(Map(document, "metadata")!, "name")!;
                    var metadata = Metadata(spec!);
                    var store = secrets.Find(each => each.Name == name) ?? new SecretComponent(name, new Dictionary<string, string>());
                    secrets.Remove(store);
                    secrets.Add(store with { Scopes = scopes, MultiValued = metadata.GetValueOrDefault("multiValued") == "true" || metadata.GetValueOrDefault("vaultValueType") == "map" });
                }
                else if (type?.StartsWith("state.", StringComparison.Ordinal) == true)
                {
                    states.Add(new StateComponent(Text(Map(document, "metadata")!, "name")!) { Scopes = scopes, Actors = Metadata(spec!).GetValueOrDefault("actorStateStore") == "true" });
                }
            }
        }

        return options with { PubSubs = pubSubs, States = states, Subscriptions = subscriptions, Secrets = secrets };
    }

    private static Dictionary<string, string> Metadata(YamlMappingNode spec) => spec.Children.TryGetValue("metadata", out var items)
        ? ((YamlSequenceNode)items).Children.Cast<YamlMappingNode>().Where(item => Text(item, "value") is not null).ToDictionary(item => Text(item, "name")!, item => Text(item, "value")!)
        : [];

    private static string[] Items(string? text) => text?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? [];

    private static Dictionary<string, IReadOnlyList<string>> Scoped(string? text) => (text ?? "").Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
        .Select(each => each.Split('=')).ToDictionary(each => each[0], each => (IReadOnlyList<string>)Items(each[1]));

    private static string? Text(YamlMappingNode node, string name) => node.Children.TryGetValue(name, out var value) ? (value as YamlScalarNode)?.Value : null;

    private static YamlMappingNode? Map(YamlMappingNode node, string name) => node.Children.TryGetValue(name, out var value) ? value as YamlMappingNode : null;

    private static IReadOnlyList<string> List(YamlNode node) => [.. ((YamlSequenceNode)node).Children.Select(each => ((YamlScalarNode)each).Value!)];
}
