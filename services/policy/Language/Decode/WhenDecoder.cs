using System.Globalization;
using System.Net;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;
using Countersign.Policy.Language.Yaml;

namespace Countersign.Policy.Language.Decode;

/// <summary>Decodes what selects: principals, connections, statements, time, addresses.</summary>
internal static class WhenDecoder
{
    private static readonly Dictionary<string, bool> Where = new(StringComparer.Ordinal) { ["absent"] = true, ["present"] = false };

    private static readonly Dictionary<string, CompleteCondition> Complete = new(StringComparer.Ordinal)
    {
        ["true"] = CompleteCondition.Complete,
        ["false"] = CompleteCondition.Incomplete,
        ["any"] = CompleteCondition.Any,
    };

    private static readonly Dictionary<string, string> Kinds = new(StringComparer.Ordinal) { ["human"] = "human", ["service"] = "service" };

    private static readonly string[] DayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

    internal static WhenSyntax When(YamlNode node, DiagnosticBag errors)
    {
        var map = new MapReader(node, "'when'", errors);
        var when = new WhenSyntax
        {
            At = node.At,
            Principals = map.Take("principals") is { } principals ? Principals(principals, "'principals'", errors) : null,
            Connections = map.Take("connections") is { } connections ? Connections(connections, errors) : null,
            Protocol = map.Text("protocol", most: 40),
            Statements = Tags(map.Texts("statements"), errors),
            Reads = Names(map.Texts("reads"), errors),
            Writes = Names(map.Texts("writes"), errors),
            Functions = Names(map.Texts("functions"), errors),
            ImpureFunctions = Names(map.Texts("impure_functions"), errors),
            Settings = map.Texts("settings") is { } settings ? [.. settings.Select(item => new Located<Glob>(Glob.Item(item.Value.ToLowerInvariant()), item.At))] : null,
            WhereAbsent = map.Choice("where", Where),
            Complete = map.Choice("complete", Complete) ?? new Located<CompleteCondition>(CompleteCondition.Unspecified, node.At),
            Time = map.Take("time") is { } time ? Time(time, errors) : null,
            ClientAddress = Networks(map.Texts("client_address"), errors),
        };
        map.Finish();
        return when;
    }

    internal static PrincipalSelector Principals(YamlNode node, string what, DiagnosticBag errors)
    {
        var map = new MapReader(node, what, errors);
        var selector = new PrincipalSelector
        {
            Groups = map.Texts("groups"),
            Persons = map.Texts("persons"),
            Kind = map.Choice("kind", Kinds)?.Value,
            Amr = map.Texts("amr"),
            Acr = map.Texts("acr"),
            MaxAge = Duration(map, "max_age")?.Value,
        };
        NotEmpty(map, what);
        map.Finish();
        return selector;
    }

    internal static ConnectionSelector Connections(YamlNode node, DiagnosticBag errors)
    {
        var map = new MapReader(node, "'connections'", errors);
        var names = map.Texts("names") is { } texts ? Globs(texts) : null;
        List<LabelSelector>? labels = null;
        if (map.Take("labels") is { } labelNode)
        {
            labels = [];
            var labelMap = new MapReader(labelNode, "'labels'", errors);
            foreach (var entry in labelMap.Entries)
            {
                labelMap.Take(entry.Key.Value);
                var values = entry.Value is YamlList
                    ? labelMap.Texts(entry.Key.Value) ?? []
                    : MapReader.AsText(entry.Value, $"Label '{MapReader.Shorten(entry.Key.Value)}'", errors, 200) is { } value ? [value] : [];
                labels.Add(new LabelSelector(new Located<string>(entry.Key.Value, entry.Key.At), Globs(values)));
            }

            NotEmpty(labelMap, "'labels'");
        }

        NotEmpty(map, "'connections'");
        map.Finish();
        return new ConnectionSelector(names, labels);
    }

    internal static Located<TimeSpan>? Duration(MapReader map, string key)
    {
        if (map.Text(key, most: 10) is not { } text)
        {
            return null;
        }

        if (Durations.TryParse(text.Value, out var duration))
        {
            return new Located<TimeSpan>(duration, text.At);
        }

        map.Errors.Add(text.At, "bad-value", $"'{key}' must be a duration such as 90s, 30m, 12h or 7d.");
        return null;
    }

    internal static IReadOnlyList<Located<Glob>> Globs(IReadOnlyList<Located<string>> texts) => [.. texts.Select(item => new Located<Glob>(new Glob(item.Value), item.At))];

    private static void NotEmpty(MapReader map, string what)
    {
        if (map.IsMap && !map.Entries.Any())
        {
            map.Errors.Add(map.At, "empty-map", $"{what} is empty: leave it out where anything may match.");
        }
    }

    private static List<Located<Glob>>? Tags(IReadOnlyList<Located<string>>? texts, DiagnosticBag errors)
    {
        if (texts is null)
        {
            return null;
        }

        var tags = new List<Located<Glob>>();
        foreach (var text in texts)
        {
            if (text.Value.TrimStart('!').Any(c => c is not ((>= 'A' and <= 'Z') or ' ' or '*')))
            {
                errors.Add(text.At, "bad-value", $"'{MapReader.Shorten(text.Value)}' is not a command tag: they are upper-case words such as DELETE or CREATE TABLE; * matches anything.");
                continue;
            }

            tags.Add(new Located<Glob>(Glob.Item(text.Value), text.At));
        }

        return tags;
    }

    private static List<Located<NamePattern>>? Names(IReadOnlyList<Located<string>>? texts, DiagnosticBag errors)
    {
        if (texts is null)
        {
            return null;
        }

        var names = new List<Located<NamePattern>>();
        foreach (var text in texts)
        {
            if (NamePattern.TryParse(text.Value, out var pattern, out var error))
            {
                names.Add(new Located<NamePattern>(pattern, text.At));
            }
            else
            {
                errors.Add(text.At, "bad-value", error);
            }
        }

        return names;
    }

    private static List<Located<IPNetwork>>? Networks(IReadOnlyList<Located<string>>? texts, DiagnosticBag errors)
    {
        if (texts is null)
        {
            return null;
        }

        var networks = new List<Located<IPNetwork>>();
        foreach (var text in texts)
        {
            if (IPNetwork.TryParse(text.Value, out var network) && IPAddress.TryParse(text.Value.Split('/')[0], out var given) && given.Equals(network.BaseAddress))
            {
                networks.Add(new Located<IPNetwork>(network, text.At));
            }
            else if (IPAddress.TryParse(text.Value, out var address) && address.ToString() == text.Value)
            {
                networks.Add(new Located<IPNetwork>(new IPNetwork(address, address.GetAddressBytes().Length * 8), text.At));
            }
            else
            {
                errors.Add(text.At, "bad-value", $"'{MapReader.Shorten(text.Value)}' is not a network such as 10.0.0.0/8 (all bits after the prefix zero).");
            }
        }

        return networks;
    }

    private static TimeSyntax Time(YamlNode node, DiagnosticBag errors)
    {
        var map = new MapReader(node, "'time'", errors);
        HashSet<DayOfWeek>? days = null;
        if (map.Texts("days") is { } names)
        {
            days = [];
            foreach (var name in names)
            {
                if (!AddDays(name.Value, days))
                {
                    errors.Add(name.At, "bad-value", $"'{MapReader.Shorten(name.Value)}' is not a day (mon, tue, …) or a range of days (mon-fri).");
                }
            }
        }

        var from = TimeOfDay(map, "from");
        var to = TimeOfDay(map, "to");
        if (from is not null && from == to)
        {
            errors.Add(node.At, "never-matches", "'from' and 'to' are the same: the window is empty.");
        }

        var timezone = map.Text("timezone", most: 80) ?? new Located<string>("UTC", node.At);
        NotEmpty(map, "'time'");
        map.Finish();
        return new TimeSyntax(node.At, days, from, to, timezone);
    }

    private static bool AddDays(string text, HashSet<DayOfWeek> days)
    {
        var parts = text.Split('-');
        var first = Array.IndexOf(DayNames, parts[0]);
        var last = parts.Length == 2 ? Array.IndexOf(DayNames, parts[1]) : first;
        if (parts.Length > 2 || first < 0 || last < 0)
        {
            return false;
        }

        for (var day = first; ; day = (day + 1) % 7)
        {
            days.Add((DayOfWeek)day);
            if (day == last)
            {
                return true;
            }
        }
    }

    private static TimeSpan? TimeOfDay(MapReader map, string key)
    {
        if (map.Text(key, most: 5) is not { } text)
        {
            return null;
        }

        if (text.Value == "24:00" && key == "to")
        {
            return TimeSpan.FromHours(24);
        }

        if (TimeOnly.TryParseExact(text.Value, "HH:mm", CultureInfo.InvariantCulture, DateTimeStyles.None, out var time))
        {
            return time.ToTimeSpan();
        }

        map.Errors.Add(text.At, "bad-value", $"'{key}' must be a time of day such as 08:30.");
        return null;
    }
}
