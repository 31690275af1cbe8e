using System.Text.RegularExpressions;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;
using Countersign.Policy.Language.Yaml;

namespace Countersign.Policy.Language.Decode;

/// <summary>Decodes whole documents by their kind.</summary>
internal sealed partial class DocumentDecoder(DiagnosticBag errors)
{
    internal const string ApiVersion = "countersign/v1";
    private const int MaxRules = 500;
    private const int MaxRetentionDays = 36_500;

    private static readonly Dictionary<string, string> Kinds = new[] { "Policy", "MaskSet", "ApproverGroup", "Settings", "Test" }.ToDictionary(kind => kind, StringComparer.Ordinal);

    private static readonly Dictionary<string, string> Versions = new(StringComparer.Ordinal) { [ApiVersion] = ApiVersion };

    private static readonly Dictionary<string, string> Strategies = new[] { "redact", "last4", "null", "hash" }.ToDictionary(name => name, StringComparer.Ordinal);

    private readonly List<PolicyDocument> _policies = [];
    private readonly List<MaskSetDocument> _masks = [];
    private readonly List<ApproverGroupDocument> _groups = [];
    private readonly List<SettingsDocument> _settings = [];
    private readonly List<TestDocument> _tests = [];

    internal PolicySet Result => new() { Policies = _policies, MaskSets = _masks, ApproverGroups = _groups, Settings = _settings, Tests = _tests };

    internal void Add(YamlNode document)
    {
        var map = new MapReader(document, "a document", errors);
        map.Choice("apiVersion", Versions, required: true);
        var kind = map.Choice("kind", Kinds, required: true);
        var name = Name(map);
        var description = map.Text("description")?.Value ?? "";
        var named = name ?? new Located<string>("?", map.At);
        switch (kind?.Value)
        {
            case "Policy":
                _policies.Add(new PolicyDocument(named, description, Rules(map)));
                break;
            case "MaskSet":
                _masks.Add(MaskSet(map, named, description) with { Source = YamlText.Of(document) });
                break;
            case "ApproverGroup":
                _groups.Add(new ApproverGroupDocument(named, description, map.Texts("persons", required: true) ?? [], map.Text("idp_group", most: 200)));
                break;
            case "Settings":
                _settings.Add(new SettingsDocument
                {
                    Name = named,
                    Source = YamlText.Of(document),
                    ControlApproval = map.Take("control_approval") is { } approval ? RuleDecoder.Approval(approval, "'control_approval'", errors) : null,
                    RetentionDays = (int?)map.Number("retention_days", 1, MaxRetentionDays),
                    PrincipalGroups = map.Texts("principal_groups") ?? [],
                });
                break;
            case "Test":
                _tests.Add(new TestDocument(named, description, TestDecoder.Cases(map)));
                break;
            default:
                // Which keys are right depends on the kind: with an unknown one only the kind is reported.
                return;
        }

        map.Finish();
    }

    internal static Located<string>? Name(MapReader map)
    {
        if (map.Text("name", required: true, most: 100) is not { } name)
        {
            return null;
        }

        if (!NameShape().IsMatch(name.Value))
        {
            map.Errors.Add(name.At, "bad-value", $"'{MapReader.Shorten(name.Value)}' is not a name: lower-case letters, digits and hyphens, beginning with a letter or digit, at most 63 characters.");
        }

        return name;
    }

    private List<RuleSyntax> Rules(MapReader map)
    {
        var rules = new List<RuleSyntax>();
        foreach (var item in map.Items("rules", required: true))
        {
            if (rules.Count == MaxRules)
            {
                errors.Add(item.At, "too-large", $"A policy has at most {MaxRules} rules.");
                break;
            }

            if (RuleDecoder.Rule(item, errors) is { } rule)
            {
                rules.Add(rule);
            }
        }

        return rules;
    }

    private MaskSetDocument MaskSet(MapReader map, Located<string> name, string description)
    {
        var columns = new List<Located<ColumnMask>>();
        foreach (var item in map.Items("columns"))
        {
            var part = new MapReader(item, "an item of 'columns'", errors);
            var column = part.Text("column", required: true, most: 400);
            var strategy = part.Choice("strategy", Strategies, required: true);
            part.Finish();
            if (column is { } text && strategy is { } how && Column(text, how.Value) is { } mask)
            {
                columns.Add(mask);
            }
        }

        var set = new MaskSetDocument(
            name,
            description,
            map.Take("connections") is { } connections ? WhenDecoder.Connections(connections, errors) : null,
            columns,
            map.Texts("detectors") ?? [],
            map.Take("exempt") is { } exempt ? WhenDecoder.Principals(exempt, "'exempt'", errors) : null);
        if (!map.Has("columns") && !map.Has("detectors"))
        {
            errors.Add(map.At, "missing-key", "A mask set needs 'columns', 'detectors' or both.");
        }

        return set;
    }

    private Located<ColumnMask>? Column(Located<string> text, string strategy)
    {
        if (!NamePattern.TrySplit(text.Value, 3, out var parts, out var problem) || parts.Count != 3)
        {
            errors.Add(text.At, "bad-value", problem ?? $"'{MapReader.Shorten(text.Value)}' is not a column: write schema.table.column.");
            return null;
        }

        foreach (var part in parts)
        {
            if (!part.Quoted && part.Text != "*" && part.Text.AsSpan().IndexOfAny('*', '?') >= 0)
            {
                errors.Add(text.At, "bad-value", $"'{MapReader.Shorten(text.Value)}': a part of a masked column is a whole name or *, so that what is masked can be listed.");
                return null;
            }

            if (!part.Quoted && part.Text.Any(char.IsAsciiLetterUpper))
            {
                errors.Add(text.At, "never-matches", $"'{MapReader.Shorten(text.Value)}': the server folds names to lower case, so this never matches; put the part in double quotes if it was created with them.");
                return null;
            }
        }

        return new Located<ColumnMask>(new ColumnMask(parts[0].Text, parts[1].Text, parts[2].Text, strategy), text.At);
    }

    [GeneratedRegex(@"\A[a-z0-9][a-z0-9-]{0,62}\z", RegexOptions.CultureInvariant)]
    private static partial Regex NameShape();
}
