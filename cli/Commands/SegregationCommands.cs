using System.CommandLine;
using System.Globalization;
using Countersign.Cli.Output;
using Countersign.Cli.Server;
using Countersign.Policy.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>sod report: who could ask for, run and approve what, and where segregation of duties is thin.</summary>
internal static class SegregationCommands
{
    public static Command Create(CommandFactory make)
    {
        var since = new Option<long?>("--since") { Description = "Compare with this report (default: the last one that said something else).", HelpName = "NUMBER" };
        var all = new Option<bool>("--all") { Description = "Also every rule, what everybody holds, and the groups." };
        return CommandFactory.Group(
            "sod", "Segregation of duties.",
            make.New("report", "Say who could ask for and approve what, and where segregation of duties is thin.", async invocation =>
            {
                var path = CountersignServer.Query("policy/v1/sod-report", ("since", invocation.Get(since)?.ToString(CultureInfo.InvariantCulture)));
                var report = await invocation.Server.GetAsync<SegregationReport>("policy", path, invocation.Cancellation);
                return invocation.Print(report, output => Show(output, report, invocation.Get(all)));
            }, since, all));
    }

    private static void Show(CliOutput output, SegregationReport report, bool all)
    {
        output.Fields(
            ("report", report.Snapshot.ToString(CultureInfo.InvariantCulture)),
            ("made", CliOutput.Time(report.At)),
            ("bundle", report.BundleVersion.ToString(CultureInfo.InvariantCulture)),
            ("humans", report.Humans.ToString(CultureInfo.InvariantCulture)),
            ("may approve", report.Approvers.ToString(CultureInfo.InvariantCulture)),
            ("digest", report.Digest));
        output.Line();
        output.Heading(report.Findings.Count == 0 ? "Nothing to look at" : "To look at");
        foreach (var finding in report.Findings)
        {
            output.Line($"  {finding.Severity,-6}  {finding.Text}");
        }

        if (all)
        {
            Rules(output, report);
        }

        if (report.Changes is { } changes)
        {
            output.Line();
            output.Heading(string.Create(CultureInfo.InvariantCulture, $"Since report {changes.Since} of {CliOutput.Time(changes.At)} (bundle {changes.BundleVersion})"));
            foreach (var line in changes.Removed)
            {
                output.Line($"  - {line}");
            }

            foreach (var line in changes.Added)
            {
                output.Line($"  + {line}");
            }

            if (changes.Added.Count + changes.Removed.Count == 0)
            {
                output.Line("  nothing has changed");
            }
        }
    }

    private static void Rules(CliOutput output, SegregationReport report)
    {
        foreach (var rule in report.Rules)
        {
            output.Line();
            output.Heading(rule.Rule == "control" ? "Changes of what is enforced" : $"Rule {rule.Rule}, over {string.Join(", ", rule.Connections)}");
            output.Fields(
                ("could ask", string.Join(", ", rule.Requesters)),
                ("could do both", string.Join(", ", rule.Both)),
                ("can't get it", string.Join(", ", rule.Stuck)));
            foreach (var part in rule.AllOf)
            {
                output.Line(string.Create(CultureInfo.InvariantCulture, $"  {part.Quorum} of {string.Join(" or ", part.AnyOf)}: {(part.Persons.Count == 0 ? "nobody" : string.Join(", ", part.Persons))}"));
            }
        }

        output.Line();
        output.Heading("Who holds what");
        output.Table(["person", "duties", "connections"], report.Holdings.Select(holding => (IReadOnlyList<string>)[holding.Person, string.Join(", ", holding.Duties), string.Join(", ", holding.Connections)]));
        output.Line();
        output.Heading("Approver groups");
        output.Table(
            ["group", "may approve", "named but can't", "decides about controls"],
            report.Groups.Select(group => (IReadOnlyList<string>)[group.Group, string.Join(", ", group.Persons), string.Join(", ", group.Absent), group.Control ? "yes" : "no"]));
    }
}
