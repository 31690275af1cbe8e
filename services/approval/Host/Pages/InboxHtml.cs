using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using Countersign.Approval.Contracts;
using Countersign.Approval.Host.Inbox;
using static Countersign.Approval.Host.Pages.RequestHtml;

namespace Countersign.Approval.Host.Pages;

/// <summary>HTML of the inbox. Like on the page of a request every text is whole; what is too long to be looked at among others can only be decided there.</summary>
internal static class InboxHtml
{
    /// <summary>Longest request, in characters, that can be decided in the list.</summary>
    public const int MaxInList = 20_000;

    /// <summary>The inbox.</summary>
    /// <param name="inbox">A page of it.</param>
    /// <param name="query">The filter.</param>
    /// <param name="name">Who looks.</param>
    /// <param name="formToken">For the form.</param>
    public static string List(InboxView inbox, InboxQuery query, string name, string formToken)
    {
        var html = new StringBuilder();
        html.Append("<h1>Inbox</h1>");
        html.Append(CultureInfo.InvariantCulture, $"<p>{(inbox.Counts.Complete ? "" : "At least ")}{inbox.Counts.ToDecide} to decide, {inbox.Counts.ToReview} to review, {inbox.Counts.Overdue} of them overdue.</p>");
        Filter(html, query);
        if (inbox.Items.Count == 0)
        {
            html.Append(inbox.Next is null ? "<p class=\"note\">There is nothing for you here.</p>" : "<p class=\"note\">There is nothing for you among the latest.</p>");
        }
        else
        {
            html.Append(CultureInfo.InvariantCulture, $"<form method=\"post\" action=\"/approval/inbox\" autocomplete=\"off\"><input type=\"hidden\" name=\"form\" value=\"{formToken}\">");
            foreach (var item in inbox.Items)
            {
                Item(html, item);
            }

            if (inbox.Items.Any(CanPick))
            {
                html.Append("""
                    <h2>Your decision on all that are ticked</h2>
                    <label for="comment">Comment (needed to deny)</label><textarea id="comment" name="comment" maxlength="4000"></textarea>
                    <button class="no" type="submit" name="decision" value="deny">Deny</button><button class="yes" type="submit" name="decision" value="approve">Approve</button>
                    """);
            }

            html.Append("</form>");
        }

        if (inbox.Next is { } next)
        {
            html.Append(CultureInfo.InvariantCulture, $"<p><a href=\"{HtmlEncoder.Default.Encode(Link(query with { After = next }))}\">Older ones</a></p>");
        }

        html.Append(CultureInfo.InvariantCulture, $"<p><small>You are logged in as {Text(name)}.</small></p>");
        return Frame("Inbox", html.ToString());
    }

    /// <summary>What became of decisions.</summary>
    public static string Results(InboxDecisionResults results, bool approve)
    {
        var html = new StringBuilder("<h1>Your decisions</h1><dl>");
        foreach (var result in results.Results)
        {
            html.Append(CultureInfo.InvariantCulture, $"<dt><a href=\"/approval/requests/{HtmlEncoder.Default.Encode(Uri.EscapeDataString(result.Id))}\"><code>{Text(result.Id)}</code></a></dt>");
            html.Append(CultureInfo.InvariantCulture, $"<dd>{(result.Code is null ? $"{(approve ? "approved" : "denied")} by you; it is {State(result.State!.Value)}" : $"<strong>refused</strong>: {Text(result.Detail)}")}</dd>");
        }

        return Frame("Your decisions", html.Append("</dl><p><a href=\"/approval/inbox\">Back to the inbox</a></p>").ToString());
    }

    private static void Item(StringBuilder html, InboxItem item)
    {
        var request = item.Request;
        html.Append("<section>");
        html.Append(CultureInfo.InvariantCulture, $"<h2>{Title(request.Kind)} <span class=\"state\">{(item.Task == InboxTask.Review ? "to review" : State(request.State))}</span></h2>");
        if (CanPick(item))
        {
            // The digest of what this page showed, not of what is there when the form comes back.
            html.Append(CultureInfo.InvariantCulture, $"<p><label><input type=\"checkbox\" name=\"pick\" value=\"{Text(request.Id)}\"> Decide this one</label><input type=\"hidden\" name=\"digest.{Text(request.Id)}\" value=\"{Text(request.Digest)}\"></p>");
        }
        else
        {
            var why = item.Task == InboxTask.Review ? "Review it on its own page."
                : item.Blocked is { } code ? $"It can't be decided yet: {(code == "reason-required" ? "the requester must say why" : "your login isn't strong or fresh enough")}."
                : "It is too long to be decided in a list: open its own page.";
            html.Append(CultureInfo.InvariantCulture, $"<p class=\"note\">{Text(why)}</p>");
        }

        html.Append("<dl>");
        Asked(html, request);
        Row(html, "Still needed", item.Task == InboxTask.Decide ? item.Missing.ToString(CultureInfo.InvariantCulture) : "");
        Row(html, "Review due", request.Review is { } review ? Time(review.DueAt) : "");
        Row(html, "Asked at", Time(request.CreatedAt));
        Row(html, "Expires at", request.State is RequestState.Pending or RequestState.Approved ? Time(request.ExpiresAt) : "");
        html.Append("</dl>");
        if (Length(request) <= MaxInList)
        {
            Operations(html, request);
            ImpactHtml.Notes(html, request);
            Context(html, request);
        }
        else
        {
            html.Append(CultureInfo.InvariantCulture, $"<p>Its {Length(request)} characters are on its own page.</p>");
            ImpactHtml.Notes(html, request);
        }

        html.Append(CultureInfo.InvariantCulture, $"<p><a href=\"/approval/requests/{Text(request.Id)}\">Open it</a> <small><code>{Text(request.Digest)}</code></small></p></section>");
    }

    private static bool CanPick(InboxItem item) => item is { Task: InboxTask.Decide, Blocked: null } && Length(item.Request) <= MaxInList;

    private static long Length(RequestView request) =>
        request.Operations.Sum(operation => (long)operation.Text.Length + operation.Parameters.Sum(parameter => (long)(parameter?.Length ?? 0)))
        + request.Transaction.Sum(statement => (long)statement.Length) + request.Context.Sum(entry => (long)entry.Key.Length + entry.Value.Length)
        + request.Reason.Length + request.Message.Length;

    private static void Filter(StringBuilder html, InboxQuery query)
    {
        html.Append("<form method=\"get\" action=\"/approval/inbox\"><p>");
        Select(html, "state", query.State, "everything", "pending", "review", "overdue");
        Select(html, "kind", query.Kind, "every kind", "operation", "access_window", "bundle", "enrolment", "identity_link", "key");
        Input(html, "connection", "Connection", query.Connection);
        Input(html, "requester", "Asked by", query.Requester);
        html.Append("<button type=\"submit\">Filter</button></p></form>");
    }

    private static void Select(StringBuilder html, string name, string? value, string all, params string[] options)
    {
        html.Append(CultureInfo.InvariantCulture, $"<select name=\"{name}\" aria-label=\"{name}\"><option value=\"\">{all}</option>");
        foreach (var option in options)
        {
            html.Append(CultureInfo.InvariantCulture, $"<option value=\"{option}\"{(option == value ? " selected" : "")}>{option.Replace('_', ' ')}</option>");
        }

        html.Append("</select> ");
    }

    // An attribute, not text: it is sent back as it was.
    private static void Input(StringBuilder html, string name, string label, string? value) =>
        html.Append(CultureInfo.InvariantCulture, $"<label>{label} <input name=\"{name}\" maxlength=\"200\" value=\"{HtmlEncoder.Default.Encode(value ?? "")}\"></label> ");

    private static string Link(InboxQuery query) => "/approval/inbox" + QueryString.Create(
        new Dictionary<string, string?>
        {
            ["state"] = query.State,
            ["kind"] = query.Kind,
            ["connection"] = query.Connection,
            ["requester"] = query.Requester,
            ["after"] = query.After,
        }.Where(pair => !string.IsNullOrEmpty(pair.Value)));
}
