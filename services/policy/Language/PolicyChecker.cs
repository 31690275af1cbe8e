using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Check;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Language;

/// <summary>What a set of policies is checked against.</summary>
/// <param name="Connections">The registered connections; null where they aren't known (a file checked on its own), so that nothing is said about them.</param>
public sealed record CheckContext(IReadOnlyList<Connection>? Connections = null);

/// <summary>Whether decoded documents make sense together. Says everything that is wrong at once.</summary>
public static class PolicyChecker
{
    /// <summary>Name of the group that every enrolled person is in.</summary>
    public const string Enrolled = "enrolled";

    /// <summary>Protocols that rules may name.</summary>
    public static IReadOnlySet<string> Protocols { get; } = new HashSet<string>(StringComparer.Ordinal) { "postgres" };

    /// <summary>Detectors that mask sets may name.</summary>
    public static IReadOnlySet<string> Detectors { get; } = new HashSet<string>(StringComparer.Ordinal) { "card", "email", "iban", "us-ssn", "phone", "token" };

    /// <summary>Decodes and checks.</summary>
    /// <param name="documents">All documents of the bundle.</param>
    /// <param name="context">What they may refer to.</param>
    /// <param name="set">What was decoded; complete where there are no errors.</param>
    /// <returns>All errors, by file and line; empty where the documents may be enforced.</returns>
    public static IReadOnlyList<PolicyDiagnostic> Check(IReadOnlyList<BundleDocument> documents, CheckContext context, out PolicySet set)
    {
        set = PolicyDecoder.TryDecode(documents, out var decoding);
        var semantic = Check(set, context);
        return decoding.Count == 0 && semantic.Count == 0
            ? []
            : [.. decoding.Concat(semantic).OrderBy(d => d.At.File, StringComparer.Ordinal).ThenBy(d => d.At.Line).ThenBy(d => d.At.Column)];
    }

    /// <summary>Checks decoded documents.</summary>
    public static IReadOnlyList<PolicyDiagnostic> Check(PolicySet set, CheckContext context)
    {
        ArgumentNullException.ThrowIfNull(set);
        ArgumentNullException.ThrowIfNull(context);
        var errors = new DiagnosticBag();
        var names = new KnownNames(set, context, errors);
        Unique(set.Policies.Select(document => document.Name), "policy", errors);
        Unique(set.MaskSets.Select(document => document.Name), "mask set", errors);
        Unique(set.ApproverGroups.Select(document => document.Name), "approver group", errors);
        Unique(set.Tests.Select(document => document.Name), "test", errors);
        foreach (var extra in set.Settings.OrderBy(document => document.Name.At.File, StringComparer.Ordinal).ThenBy(document => document.Name.At.Line).Skip(1))
        {
            errors.Add(extra.Name.At, "duplicate-name", "There is at most one Settings document.");
        }

        foreach (var group in set.ApproverGroups)
        {
            if (group.Name.Value == Enrolled)
            {
                errors.Add(group.Name.At, "reserved-name", $"'{Enrolled}' is the group of all enrolled persons and can't be defined.");
            }

            foreach (var person in group.Persons.GroupBy(person => person.Value, StringComparer.OrdinalIgnoreCase).Where(same => same.Count() > 1))
            {
                errors.Add(person.Last().At, "duplicate-item", $"'{person.Key}' stands twice in the group: a person counts once.");
            }

            names.PrincipalGroup(group.IdpGroup);
        }

        foreach (var settings in set.Settings)
        {
            names.Approval(settings.ControlApproval);
            if (settings.ControlApproval is { } control && (control.Window is not null || control.BreakGlass || control.DryRun))
            {
                errors.Add(control.At, "not-applicable", "'control_approval' has no 'window', 'break_glass' or 'dry_run': nobody changes what is enforced alone.");
            }
        }

        foreach (var policy in set.Policies)
        {
            Unique(policy.Rules.Select(rule => rule.Name), "rule", errors);
            foreach (var rule in policy.Rules)
            {
                RuleCheck.Check(rule, names, errors);
            }
        }

        foreach (var masks in set.MaskSets)
        {
            Masks(masks, names, errors);
        }

        foreach (var test in set.Tests)
        {
            Tests(test, set, names, errors);
        }

        return errors.ToList();
    }

    private static void Masks(MaskSetDocument masks, KnownNames names, DiagnosticBag errors)
    {
        names.Connections(masks.Connections, protocol: null, masks.Name.At);
        names.Principals(masks.Exempt);
        foreach (var detector in masks.Detectors.Where(detector => !Detectors.Contains(detector.Value)))
        {
            errors.Add(detector.At, "unknown-name", $"There is no detector '{detector.Value}'. There are: {string.Join(", ", Detectors.Order(StringComparer.Ordinal))}.");
        }

        foreach (var same in masks.Columns.GroupBy(mask => mask.Value with { Strategy = "" }).Where(same => same.Count() > 1))
        {
            errors.Add(same.Last().At, "duplicate-item", $"{same.Key.Schema}.{same.Key.Relation}.{same.Key.Column} stands twice in the mask set.");
        }
    }

    private static void Tests(TestDocument test, PolicySet set, KnownNames names, DiagnosticBag errors)
    {
        foreach (var one in test.Cases)
        {
            if (one.Connection.Labels is null)
            {
                names.ConnectionName(one.Connection.Name);
            }

            if (one.Principal.Kind is not ("human" or "service"))
            {
                errors.Add(one.At, "bad-value", "The kind of a principal is human or service.");
            }

            if (one.Rule is { } rule && !set.Policies.Any(policy => policy.Rules.Any(item => rule.Value == $"{policy.Name.Value}/{item.Name.Value}")))
            {
                errors.Add(rule.At, "unknown-name", $"There is no rule '{rule.Value}': write policy/rule.");
            }

            foreach (var approver in one.Approvers ?? [])
            {
                names.ApproverGroup(new Located<string>(approver, one.At));
            }

            if (one.Approvers is not null && one.Expect != Outcome.RequireApproval)
            {
                errors.Add(one.At, "bad-value", "'approvers' can be expected only together with 'expect: require_approval'.");
            }
        }
    }

    private static void Unique(IEnumerable<Located<string>> names, string what, DiagnosticBag errors)
    {
        foreach (var same in names.Where(name => name.Value != "?").GroupBy(name => name.Value, StringComparer.Ordinal).Where(same => same.Count() > 1))
        {
            var ordered = same.OrderBy(name => name.At.File, StringComparer.Ordinal).ThenBy(name => name.At.Line).ToList();
            foreach (var name in ordered.Skip(1))
            {
                errors.Add(name.At, "duplicate-name", $"There is already a {what} '{name.Value}' at {ordered[0].At}.");
            }
        }
    }
}
