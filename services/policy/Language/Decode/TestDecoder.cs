using System.Globalization;
using System.Net;
using Countersign.Policy.Language.Syntax;
using Countersign.Policy.Language.Yaml;

namespace Countersign.Policy.Language.Decode;

/// <summary>Decodes <c>kind: Test</c>. What stands beside <c>cases</c> (<c>as</c>, <c>connection</c>, …) is the default of each of them.</summary>
internal static class TestDecoder
{
    internal static IReadOnlyList<TestCaseSyntax> Cases(MapReader map)
    {
        var errors = map.Errors;
        var principal = map.Take("as") is { } asNode ? Principal(asNode, errors) : null;
        var connection = map.Take("connection") is { } connectionNode ? Connection(connectionNode, errors) : null;
        var cases = new List<TestCaseSyntax>();
        foreach (var item in map.Items("cases", required: true))
        {
            var part = new MapReader(item, "a case", errors);
            var name = part.Text("name", required: true, most: 200);
            var who = part.Take("as") is { } ownAs ? Principal(ownAs, errors) : principal;
            var where = part.Take("connection") is { } ownConnection ? Connection(ownConnection, errors) : connection;
            var text = part.Has("texts") ? null : part.Text("text", required: true, most: 100_000);
            var texts = part.Texts("texts");
            var expect = part.Choice("expect", RuleDecoder.Effects, required: true);
            var now = Instant(part, "at");
            var address = part.Text("client_address", most: 50);
            if (address is { } given && !IPAddress.TryParse(given.Value, out _))
            {
                errors.Add(given.At, "bad-value", "'client_address' must be an IP address.");
            }

            var rule = part.Text("rule", most: 200);
            var approvers = part.Texts("approvers");
            var database = part.Text("database", most: 100)?.Value ?? "";
            if (part.Has("text") && part.Has("texts"))
            {
                part.Take("text");
                errors.Add(item.At, "bad-value", "A case has either 'text' or 'texts', not both.");
            }

            if (part.IsMap && who is null)
            {
                errors.Add(item.At, "missing-key", "A case needs 'as', its own or the document's.");
            }

            if (part.IsMap && where is null)
            {
                errors.Add(item.At, "missing-key", "A case needs 'connection', its own or the document's.");
            }

            part.Finish();
            if (name is null || who is null || where is null || expect is null)
            {
                continue;
            }

            foreach (var one in texts ?? (text is { } single ? [single] : []))
            {
                cases.Add(new TestCaseSyntax
                {
                    At = one.At,
                    Name = name.Value.Value,
                    Principal = who,
                    Connection = where,
                    Database = database,
                    Text = one,
                    Now = now,
                    ClientAddress = address?.Value ?? "",
                    Expect = expect.Value.Value,
                    Rule = rule,
                    Approvers = approvers?.Select(item2 => item2.Value).ToList(),
                });
            }
        }

        return cases;
    }

    private static TestPrincipal Principal(YamlNode node, DiagnosticBag errors)
    {
        var map = new MapReader(node, "'as'", errors);
        var name = map.Text("name", required: true, most: 200)?.Value ?? "?";
        var principal = new TestPrincipal(
            name,
            map.Text("person", most: 100)?.Value ?? "per_" + name,
            map.Text("kind", most: 20)?.Value ?? "human",
            map.Texts("groups")?.Select(item => item.Value).ToList() ?? [],
            map.Text("acr", most: 200)?.Value,
            map.Texts("amr")?.Select(item => item.Value).ToList() ?? [],
            WhenDecoder.Duration(map, "authenticated_ago")?.Value ?? TimeSpan.Zero);
        map.Finish();
        return principal;
    }

    private static TestConnection Connection(YamlNode node, DiagnosticBag errors)
    {
        if (node is YamlScalar)
        {
            return new TestConnection(MapReader.AsText(node, "'connection'", errors, 100) ?? new Located<string>("?", node.At), "postgres", null);
        }

        var map = new MapReader(node, "'connection'", errors);
        var name = map.Text("name", required: true, most: 100) ?? new Located<string>("?", node.At);
        var protocol = map.Text("protocol", most: 40)?.Value ?? "postgres";
        var labels = new Dictionary<string, string>(StringComparer.Ordinal);
        if (map.Take("labels") is { } labelNode)
        {
            var labelMap = new MapReader(labelNode, "'labels'", errors);
            foreach (var entry in labelMap.Entries)
            {
                if (MapReader.AsText(entry.Value, $"Label '{MapReader.Shorten(entry.Key.Value)}'", errors, 200) is { } value)
                {
                    labels[entry.Key.Value] = value.Value;
                }
            }
        }

        map.Finish();
        return new TestConnection(name, protocol, labels);
    }

    private static DateTimeOffset? Instant(MapReader map, string key)
    {
        if (map.Text(key, most: 40) is not { } text)
        {
            return null;
        }

        string[] formats = ["yyyy-MM-dd'T'HH:mm:ssK", "yyyy-MM-dd'T'HH:mmK"];
        var hasZone = text.Value.EndsWith('Z') || text.Value.LastIndexOfAny(['+', '-']) > 10;
        if (hasZone && DateTimeOffset.TryParseExact(text.Value, formats, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var instant))
        {
            return instant;
        }

        map.Errors.Add(text.At, "bad-value", $"'{key}' must be an instant with its zone, such as 2026-05-04T10:00:00Z.");
        return null;
    }
}
