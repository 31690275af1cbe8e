using System.Globalization;
using System.Text;
using Countersign.Approval.Contracts;
using static Countersign.Approval.Host.Pages.RequestHtml;

namespace Countersign.Approval.Host.Pages;

/// <summary>What a request would do, and what its requester asked for before. Whoever may not see something has a view without it.</summary>
internal static class ImpactHtml
{
    /// <summary>All of it.</summary>
    public static void Whole(StringBuilder html, RequestView request)
    {
        if (request.Impact is not { } impact)
        {
            return;
        }

        Notes(html, request);
        if (impact.DryRun is { } run)
        {
            html.Append(CultureInfo.InvariantCulture, $"<h2>Tried, and rolled back: {run.Rows} rows</h2>");
            Rows(html, "Before", run.Columns, run.Before);
            Rows(html, "After", run.Columns, run.After);
        }
    }

    /// <summary>What it touches and what must be known of that: warnings, locks, how the rules read.</summary>
    public static void Notes(StringBuilder html, RequestView request)
    {
        if (request.Impact is not { } impact || (impact.Relations.Count == 0 && impact.Notes.Count == 0 && impact.EstimatedRows is null))
        {
            return;
        }

        html.Append("<h2>What it would do</h2><dl>");
        Row(html, "Touches", string.Join(", ", impact.Relations));
        Row(html, "Rows", impact.EstimatedRows is { } rows ? string.Create(CultureInfo.InvariantCulture, $"{rows}, by the planner's estimate") : "");
        html.Append("</dl>");
        Lines(html, impact.Notes);
    }

    /// <summary>Earlier requests of the same person.</summary>
    public static void Earlier(StringBuilder html, RequestView request)
    {
        if (request.Earlier.Count > 0)
        {
            html.Append("<h2>Asked for before</h2>");
            Lines(html, request.Earlier);
        }
    }

    private static void Lines(StringBuilder html, IReadOnlyList<string> lines)
    {
        if (lines.Count == 0)
        {
            return;
        }

        html.Append("<ul>");
        foreach (var line in lines)
        {
            html.Append(CultureInfo.InvariantCulture, $"<li>{Text(line)}</li>");
        }

        html.Append("</ul>");
    }

    private static void Rows(StringBuilder html, string title, IReadOnlyList<string> columns, IReadOnlyList<IReadOnlyList<string?>> rows)
    {
        if (rows.Count == 0)
        {
            return;
        }

        html.Append(CultureInfo.InvariantCulture, $"<p>{title}</p><div class=\"rows\"><table><tr>");
        foreach (var column in columns)
        {
            html.Append(CultureInfo.InvariantCulture, $"<th>{Text(column)}</th>");
        }

        html.Append("</tr>");
        foreach (var row in rows)
        {
            html.Append("<tr>");
            foreach (var value in row)
            {
                html.Append(CultureInfo.InvariantCulture, $"<td>{(value is null ? "<em>NULL</em>" : Text(value))}</td>");
            }

            html.Append("</tr>");
        }

        html.Append("</table></div>");
    }
}
