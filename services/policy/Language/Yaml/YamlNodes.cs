namespace Countersign.Policy.Language.Yaml;

/// <summary>A YAML node with its place. Anchors, aliases and tags don't exist in this model: the reader refuses them.</summary>
internal abstract record YamlNode(SourcePosition At);

/// <summary>A scalar; <paramref name="Plain"/> where it is written without quotes, so that it may mean a number or a boolean.</summary>
internal sealed record YamlScalar(SourcePosition At, string Value, bool Plain) : YamlNode(At);

internal sealed record YamlList(SourcePosition At, IReadOnlyList<YamlNode> Items) : YamlNode(At);

internal sealed record YamlMap(SourcePosition At, IReadOnlyList<YamlEntry> Entries) : YamlNode(At);

internal readonly record struct YamlEntry(YamlScalar Key, YamlNode Value);
