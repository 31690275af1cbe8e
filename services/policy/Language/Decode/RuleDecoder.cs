using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;
using Countersign.Policy.Language.Yaml;

namespace Countersign.Policy.Language.Decode;

/// <summary>Decodes rules with their terms.</summary>
internal static class RuleDecoder
{
    private const int MaxMethods = 10;
    private const int MaxMethodLength = 50;
    private static readonly TimeSpan ShortestWindow = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan LongestWindow = TimeSpan.FromDays(1);

    internal static readonly Dictionary<string, Outcome> Effects = new(StringComparer.Ordinal)
    {
        ["allow"] = Outcome.Allow,
        ["require_approval"] = Outcome.RequireApproval,
        ["deny"] = Outcome.Deny,
    };

    private static readonly Dictionary<string, bool> Modes = new(StringComparer.Ordinal) { ["enforce"] = false, ["shadow"] = true };

    private static readonly Dictionary<string, RecordLevel> Levels = new(StringComparer.Ordinal)
    {
        ["buffered"] = RecordLevel.Buffered,
        ["durable"] = RecordLevel.Durable,
        ["acknowledged"] = RecordLevel.Acknowledged,
    };

    private static readonly Dictionary<string, FilterOnMasked> Filters = new(StringComparer.Ordinal)
    {
        ["deny"] = FilterOnMasked.Deny,
        ["require_approval"] = FilterOnMasked.RequireApproval,
        ["allow"] = FilterOnMasked.Allow,
    };

    private static readonly Dictionary<string, Outcome> Laundering = new(StringComparer.Ordinal)
    {
        ["deny"] = Outcome.Deny,
        ["require_approval"] = Outcome.RequireApproval,
    };

    internal static RuleSyntax? Rule(YamlNode node, DiagnosticBag errors)
    {
        var map = new MapReader(node, "a rule", errors);
        var name = DocumentDecoder.Name(map);
        var effect = map.Choice("effect", Effects, required: true);
        var when = map.Take("when") is { } whenNode ? WhenDecoder.When(whenNode, errors) : new WhenSyntax { At = node.At };
        var rule = new RuleSyntax
        {
            Source = YamlText.Of(node),
            At = node.At,
            Name = name ?? new Located<string>("?", node.At),
            Effect = effect?.Value ?? Outcome.Deny,
            When = when,
            Message = map.Text("message", most: 1000)?.Value ?? "",
            Hint = map.Text("hint", most: 1000)?.Value ?? "",
            Shadow = map.Choice("mode", Modes)?.Value ?? false,
            Obligations = map.Take("obligations") is { } obligations ? Obligations(obligations, errors) : null,
            Approval = map.Take("approval") is { } approval ? Approval(approval, "'approval'", errors) : null,
        };
        map.Finish();
        return map.IsMap && name is not null && effect is not null ? rule : null;
    }

    internal static ApprovalSyntax Approval(YamlNode node, string what, DiagnosticBag errors)
    {
        var map = new MapReader(node, what, errors);
        var requirements = new List<RequirementSyntax>();
        var shortForm = map.Has("groups") || map.Has("quorum");
        if (map.Has("all_of") && shortForm)
        {
            errors.Add(node.At, "bad-value", $"{what} has either 'all_of' or the short form 'groups' and 'quorum', not both.");
        }

        foreach (var item in map.Items("all_of", required: !shortForm))
        {
            var part = new MapReader(item, "an item of 'all_of'", errors);
            var groups = part.Texts("any_of", required: true) ?? [];
            requirements.Add(new RequirementSyntax(item.At, groups, (int)(part.Number("quorum", 1, 20) ?? 1)));
            part.Finish();
        }

        var shortGroups = map.Texts("groups", required: shortForm);
        var quorum = map.Number("quorum", 1, 20);
        if (shortForm)
        {
            requirements.Add(new RequirementSyntax(node.At, shortGroups ?? [], (int)(quorum ?? 1)));
        }

        var approval = new ApprovalSyntax
        {
            At = node.At,
            AllOf = requirements,
            Timeout = Bounded(map, "timeout", TimeSpan.FromSeconds(10), TimeSpan.FromDays(7)),
            GrantLifetime = Bounded(map, "grant_lifetime", TimeSpan.FromSeconds(10), TimeSpan.FromDays(1)),
            ReasonRequired = map.Flag("reason_required") ?? false,
            Assurance = map.Take("assurance") is { } assurance ? Assurance(assurance, errors) : null,
            Window = Bounded(map, "window", ShortestWindow, LongestWindow),
            BreakGlass = map.Flag("break_glass") ?? false,
            DryRun = map.Flag("dry_run") ?? false,
        };
        map.Finish();
        return approval;
    }

    private static ApproverAssurance Assurance(YamlNode node, DiagnosticBag errors)
    {
        var map = new MapReader(node, "'assurance'", errors);
        var age = Bounded(map, "max_age", TimeSpan.FromMinutes(1), TimeSpan.FromDays(30));
        var methods = map.Texts("amr");
        if (map.IsMap && !map.Has("max_age") && methods is null)
        {
            errors.Add(node.At, "empty-map", "'assurance' needs 'max_age', 'amr' or both: leave it out where any login will do.");
        }

        if (methods is { Count: > MaxMethods } || (methods ?? []).Any(method => method.Value.Length > MaxMethodLength))
        {
            errors.Add(map.KeyPosition("amr"), "too-large", $"'amr' has at most {MaxMethods} methods of {MaxMethodLength} characters.");
        }

        map.Finish();
        return new ApproverAssurance(age, [.. (methods ?? []).Select(method => method.Value).Order(StringComparer.Ordinal)]);
    }

    private static TimeSpan? Bounded(MapReader map, string key, TimeSpan least, TimeSpan most)
    {
        if (WhenDecoder.Duration(map, key) is not { } duration)
        {
            return null;
        }

        if (duration.Value < least || duration.Value > most)
        {
            map.Errors.Add(duration.At, "bad-value", $"'{key}' must lie between {Durations.Format(least)} and {Durations.Format(most)}.");
            return null;
        }

        return duration.Value;
    }

    private static ObligationSyntax Obligations(YamlNode node, DiagnosticBag errors)
    {
        var map = new MapReader(node, "'obligations'", errors);
        var syntax = new ObligationSyntax
        {
            At = node.At,
            Record = map.Choice("record", Levels),
            RowLimit = map.Number("row_limit", 1, 1_000_000_000),
            FilterOnMasked = map.Choice("filter_on_masked", Filters),
            Laundering = map.Choice("laundering", Laundering),
            InTransaction = InTransaction(map),
        };
        if (map.IsMap && !map.Entries.Any())
        {
            errors.Add(node.At, "empty-map", "'obligations' is empty: leave it out.");
        }

        map.Finish();
        return syntax;
    }

    private static Located<TimeSpan>? InTransaction(MapReader map)
    {
        if (map.Text("in_transaction", most: 20) is not { } text)
        {
            return null;
        }

        if (text.Value == "refuse")
        {
            return new Located<TimeSpan>(TimeSpan.Zero, text.At);
        }

        if (text.Value.StartsWith("hold(", StringComparison.Ordinal) && text.Value.EndsWith(')')
            && Durations.TryParse(text.Value[5..^1], out var hold) && hold <= TimeSpan.FromHours(1))
        {
            return new Located<TimeSpan>(hold, text.At);
        }

        map.Errors.Add(text.At, "bad-value", "'in_transaction' must be refuse, or hold(60s) with at most 1h.");
        return null;
    }
}
