using System.Globalization;
using System.Text.RegularExpressions;
using Countersign.Policy.Language.Syntax;
using Countersign.Policy.Language.Yaml;

namespace Countersign.Policy.Language.Decode;

/// <summary>Reads one YAML map strictly: every key is asked for by name, and <see cref="Finish"/> reports those nobody asked for.</summary>
internal sealed partial class MapReader
{
    internal const int MaxText = 4000;
    internal const int MaxItems = 2000;
    private readonly YamlMap? _map;
    private readonly string _what;
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);

    internal MapReader(YamlNode node, string what, DiagnosticBag errors)
    {
        Errors = errors;
        At = node.At;
        _what = what;
        _map = node as YamlMap;
        if (_map is null)
        {
            errors.Add(node.At, "wrong-type", $"{Capital(what)} must be a map of keys and values.");
        }
    }

    internal SourcePosition At { get; }

    internal DiagnosticBag Errors { get; }

    internal bool IsMap => _map is not null;

    internal IEnumerable<YamlEntry> Entries => _map?.Entries ?? [];

    internal YamlNode? Take(string key, bool required = false)
    {
        _known.Add(key);
        if (_map is null)
        {
            return null;
        }

        foreach (var entry in _map.Entries)
        {
            if (entry.Key.Value == key)
            {
                return entry.Value;
            }
        }

        if (required)
        {
            Errors.Add(At, "missing-key", $"{Capital(_what)} needs the key '{key}'.");
        }

        return null;
    }

    internal bool Has(string key) => _map?.Entries.Any(entry => entry.Key.Value == key) ?? false;

    internal SourcePosition KeyPosition(string key) => _map?.Entries.Where(entry => entry.Key.Value == key).Select(entry => entry.Key.At).FirstOrDefault(At) ?? At;

    internal Located<string>? Text(string key, bool required = false, int most = MaxText) => Take(key, required) is { } node ? AsText(node, $"'{key}'", Errors, most) : null;

    internal IReadOnlyList<Located<string>>? Texts(string key, bool required = false)
    {
        if (Take(key, required) is not { } node)
        {
            return null;
        }

        if (node is not YamlList list)
        {
            Errors.Add(node.At, "wrong-type", $"'{key}' must be a list, e.g. [a, b].");
            return [];
        }

        if (list.Items.Count is 0 or > MaxItems)
        {
            Errors.Add(node.At, "empty-list", list.Items.Count == 0 ? $"'{key}' is an empty list: leave it out where anything may match." : $"'{key}' has more than {MaxItems} items.");
            return [];
        }

        var texts = new List<Located<string>>(list.Items.Count);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var item in list.Items)
        {
            if (AsText(item, $"An item of '{key}'", Errors, MaxText) is { } text)
            {
                if (!seen.Add(text.Value))
                {
                    Errors.Add(text.At, "duplicate-item", $"'{text.Value}' stands twice in '{key}'.");
                }

                texts.Add(text);
            }
        }

        return texts;
    }

    internal IEnumerable<YamlNode> Items(string key, bool required = false)
    {
        if (Take(key, required) is not { } node)
        {
            return [];
        }

        if (node is not YamlList list)
        {
            Errors.Add(node.At, "wrong-type", $"'{key}' must be a list.");
            return [];
        }

        if (list.Items.Count is 0 or > MaxItems)
        {
            Errors.Add(node.At, "empty-list", list.Items.Count == 0 ? $"'{key}' is an empty list." : $"'{key}' has more than {MaxItems} items.");
            return [];
        }

        return list.Items;
    }

    internal bool? Flag(string key)
    {
        switch (Take(key))
        {
            case null:
                return null;
            case YamlScalar { Plain: true, Value: "true" }:
                return true;
            case YamlScalar { Plain: true, Value: "false" }:
                return false;
            case { } node:
                Errors.Add(node.At, "wrong-type", $"'{key}' must be true or false.");
                return null;
        }
    }

    internal long? Number(string key, long least, long most)
    {
        if (Take(key) is not { } node)
        {
            return null;
        }

        if (node is YamlScalar { Plain: true } scalar && long.TryParse(scalar.Value, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            && number >= least && number <= most)
        {
            return number;
        }

        Errors.Add(node.At, "wrong-type", $"'{key}' must be a whole number from {least} to {most}.");
        return null;
    }

    internal Located<T>? Choice<T>(string key, IReadOnlyDictionary<string, T> choices, bool required = false)
    {
        if (Take(key, required) is not { } node)
        {
            return null;
        }

        // No look at the style: a choice may be spelled true or false.
        if (node is YamlScalar scalar && choices.TryGetValue(scalar.Value, out var value))
        {
            return new Located<T>(value, node.At);
        }

        Errors.Add(node.At, "bad-value", $"'{key}' must be one of: {string.Join(", ", choices.Keys.Order(StringComparer.Ordinal))}.");
        return null;
    }

    internal void Finish()
    {
        foreach (var entry in Entries)
        {
            if (!_known.Contains(entry.Key.Value))
            {
                Errors.Add(
                    entry.Key.At, "unknown-key", $"Unknown key '{Shorten(entry.Key.Value)}' in {_what}. Known are: {string.Join(", ", _known.Order(StringComparer.Ordinal))}.");
            }
        }
    }

    /// <summary>Text. What YAML may take for something else (numbers, booleans, nothing) must be quoted, so that a file means what it looks like.</summary>
    internal static Located<string>? AsText(YamlNode node, string what, DiagnosticBag errors, int most)
    {
        if (node is not YamlScalar scalar)
        {
            errors.Add(node.At, "wrong-type", $"{what} must be text.");
            return null;
        }

        if (scalar.Value.Length == 0 || (scalar.Plain && Ambiguous().IsMatch(scalar.Value)))
        {
            errors.Add(node.At, "wrong-type", $"{what} must be text, and not empty; put it in quotes if '{Shorten(scalar.Value)}' is meant as text.");
            return null;
        }

        if (scalar.Value.Length > most)
        {
            errors.Add(node.At, "too-large", $"{what} has at most {most} characters.");
            return null;
        }

        return new Located<string>(scalar.Value, node.At);
    }

    internal static string Shorten(string text)
    {
        var visible = string.Concat(text.Take(60).Select(c => char.IsControl(c) || char.IsSurrogate(c) ? '?' : c));
        return text.Length > 60 ? visible + "…" : visible;
    }

    private static string Capital(string text) => char.ToUpperInvariant(text[0]) + text[1..];

    [GeneratedRegex(@"\A(?:~|null|true|false|yes|no|on|off|[-+]?(?:0x[0-9a-f]+|0o[0-7]+|[0-9][0-9_]*(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?|\.inf|\.nan))\z", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Ambiguous();
}
