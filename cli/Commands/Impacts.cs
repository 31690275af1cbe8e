using System.Globalization;
using Countersign.Approval.Contracts;
using Countersign.Cli.Output;

namespace Countersign.Cli.Commands;

/// <summary>What a request would do, for whoever decides it: an estimate, never part of what is approved.</summary>
internal static class Impacts
{
    public static void Show(CliOutput output, RequestImpact impact)
    {
        output.Line();
        output.Heading("What it would do (an estimate; not part of what is approved)");
        output.Fields(
            ("touches", string.Join(", ", impact.Relations)),
            ("rows", impact.EstimatedRows is { } rows ? rows.ToString(CultureInfo.InvariantCulture) + " by the planner's estimate" : null));
        foreach (var note in impact.Notes)
        {
            output.Line($"  note: {note}");
        }

        if (impact.DryRun is { } dry)
        {
            output.Line(string.Create(CultureInfo.InvariantCulture, $"  a run that was rolled back affected {dry.Rows} rows"));
            Rows(output, "before", dry.Columns, dry.Before);
            Rows(output, "after", dry.Columns, dry.After);
        }

        output.Line();
    }

    private static void Rows(CliOutput output, string when, IReadOnlyList<string> columns, IReadOnlyList<IReadOnlyList<string?>> rows)
    {
        if (rows.Count > 0)
        {
            output.Line($"  {when}:");
            output.Table(columns, rows.Select(row => (IReadOnlyList<string>)[.. row.Select(value => value ?? "NULL")]));
        }
    }
}
