using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using Countersign.Approval.Contracts;

namespace Countersign.Approval.Host.Pages;

/// <summary>HTML of the pages. Every text goes through <see cref="Text"/>: whole, encoded, and with nothing invisible in it.</summary>
internal static class RequestHtml
{
    // Letters that are written from right to left would be moved about, and with them what stands beside them: everything is shown in the order that it has.
    private const string Style = """
        :root{color-scheme:light dark;--line:#8884;--soft:#8881}
        *{direction:ltr;unicode-bidi:isolate-override}textarea,input{unicode-bidi:normal}
        body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
        h1{font-size:1.4rem;margin:.5rem 0}h2{font-size:1.05rem;margin:1.4rem 0 .3rem}
        pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.7rem;margin:.3rem 0;font:14px/1.45 ui-monospace,monospace}
        code{font:14px ui-monospace,monospace;overflow-wrap:anywhere}
        dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:0}dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}
        ul{margin:.3rem 0;padding-left:1.2rem}li{overflow-wrap:anywhere}
        .rows{overflow-x:auto}table{border-collapse:collapse;font:14px/1.45 ui-monospace,monospace}th,td{border:1px solid var(--line);padding:.1rem .5rem;text-align:left;vertical-align:top;white-space:pre-wrap}
        mark{background:#c00;color:#fff;border-radius:3px;padding:0 .15em}
        .state{display:inline-block;border:1px solid var(--line);border-radius:1rem;padding:0 .7rem;margin-left:.5rem;font-size:1rem}
        .note{border-left:4px solid #c60;padding:.4rem .8rem;background:var(--soft);margin:1rem 0}
        .problem{border-left-color:#c00}
        form{display:inline}textarea{width:100%;box-sizing:border-box;font:inherit;min-height:3.5rem;margin:.3rem 0}
        button{font:inherit;padding:.45rem 1.4rem;border-radius:6px;border:1px solid var(--line);cursor:pointer;margin-right:.6rem}
        section{border-top:1px solid var(--line);margin-top:1.5rem}
        .yes{background:#176b35;color:#fff}.no{background:#a11;color:#fff}
        """;

    /// <summary>Nothing but our own style; forms go to ourselves; nobody frames it.</summary>
    public static string ContentSecurityPolicy { get; } =
        $"default-src 'none'; style-src 'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(Style)))}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

    /// <summary>Text made visible and encoded.</summary>
    public static string Text(string? text) => HtmlEncoder.Default.Encode(VisibleText.Escape(text ?? ""))
        .Replace("&#xA;", "\n", StringComparison.Ordinal)
        .Replace("&#x9;", "\t", StringComparison.Ordinal)
        .Replace("&#x27E6;", "<mark>&#x27E6;", StringComparison.Ordinal)
        .Replace("&#x27E7;", "&#x27E7;</mark>", StringComparison.Ordinal);

    /// <summary>A page that only says something.</summary>
    public static string Message(string title, string message, string? again = null) => Frame(
        title, $"<h1>{Text(title)}</h1><p>{Text(message)}</p>" + (again is null ? "" : $"<p><a href=\"{HtmlEncoder.Default.Encode(again)}\">Try again</a></p>"));

    /// <summary>The page of a request.</summary>
    /// <param name="request">The request.</param>
    /// <param name="name">Who looks.</param>
    /// <param name="formToken">For the forms.</param>
    /// <param name="missing">Persons still needed.</param>
    /// <param name="refusal">Why the person may not decide; null where they may.</param>
    /// <param name="decided">Whether the person has decided already.</param>
    /// <param name="problem">What went wrong with the last form.</param>
    public static string Request(RequestView request, string name, string formToken, int missing, string? refusal, bool decided, string? problem)
    {
        var html = new StringBuilder();
        html.Append(CultureInfo.InvariantCulture, $"<h1>{Title(request.Kind)} <span class=\"state\">{Text(State(request.State))}</span></h1>");
        if (problem is not null)
        {
            html.Append(CultureInfo.InvariantCulture, $"<p class=\"note problem\" role=\"alert\">{Text(problem)}</p>");
        }

        html.Append("<dl>");
        Asked(html, request);
        Row(html, "Needs", string.Join(" and ", request.AllOf.Select(each => $"{each.Quorum} of {string.Join(" or ", each.AnyOf)}")));
        Row(html, "Still needed", request.State == RequestState.Pending ? $"{missing}" : "");
        Row(html, "Login needed", request.Assurance is { } assurance ? Assurance(assurance) : "");
        Row(html, "Window", request.Window is { } window ? $"{TimeSpan.FromSeconds(window.Seconds)} from its first use: {string.Join(", ", window.Statements)} on {string.Join(", ", window.Relations)}" : "");
        Row(html, "Extends", request.Extends ?? "");
        Row(html, "Alone", request.BreakGlass ? "The requester went ahead alone (break-glass)" : "");
        Row(html, "Review", request.Review switch
        {
            null => "",
            { ClosedAt: { } closed } review => $"{(review.Justified == true ? "justified" : "not justified")}, says {review.ClosedByName} at {Time(closed)}: {review.Comment}",
            { } review => $"open, due {Time(review.DueAt)}",
        });
        Row(html, "Asked at", Time(request.CreatedAt));
        Row(html, request.State is RequestState.Pending or RequestState.Approved ? "Expires at" : "Ended at", Time(request.ExpiresAt));
        Row(html, "Request", request.Id);
        html.Append("</dl>");

        Operations(html, request);
        ImpactHtml.Whole(html, request);
        Context(html, request);
        ImpactHtml.Earlier(html, request);
        Decisions(html, request);
        html.Append(CultureInfo.InvariantCulture, $"<h2>Digest</h2><p><code>{Text(request.Digest)}</code></p>");
        Forms(html, request, formToken, refusal, decided);
        html.Append(CultureInfo.InvariantCulture, $"<p><small>You are logged in as {Text(name)}.</small></p>");
        return Frame(Title(request.Kind), html.ToString());
    }

    internal static void Operations(StringBuilder html, RequestView request)
    {
        html.Append(CultureInfo.InvariantCulture, $"<h2>{(request.Kind switch { RequestKind.Operation => "Exactly this would run", RequestKind.AccessWindow => "Anything in this scope could run", _ => "Exactly this would change" })}</h2>");
        for (var index = 0; index < request.Operations.Count; index++)
        {
            var operation = request.Operations[index];
            if (request.Operations.Count > 1)
            {
                html.Append(CultureInfo.InvariantCulture, $"<p>{index + 1} of {request.Operations.Count}{(index < request.Redeemed ? " (done)" : "")}</p>");
            }

            html.Append(CultureInfo.InvariantCulture, $"<pre class=\"text\">{Text(operation.Text)}</pre>");
            if (operation.Parameters.Count > 0)
            {
                html.Append("<dl>");
                for (var parameter = 0; parameter < operation.Parameters.Count; parameter++)
                {
                    html.Append(CultureInfo.InvariantCulture, $"<dt>${parameter + 1}</dt><dd><pre>{(operation.Parameters[parameter] is { } value ? Text(value) : "<em>NULL</em>")}</pre></dd>");
                }

                html.Append("</dl>");
            }
        }
    }

    internal static void Context(StringBuilder html, RequestView request)
    {
        if (request.Transaction.Count > 0)
        {
            html.Append("<h2>Earlier in the same transaction</h2><p>The transaction is open: what it changed so far holds locks until this is decided.</p>");
            foreach (var statement in request.Transaction)
            {
                html.Append(CultureInfo.InvariantCulture, $"<pre>{Text(statement)}</pre>");
            }
        }

        if (request.Context.Count > 0)
        {
            html.Append("<h2>Context</h2><dl>");
            foreach (var (key, value) in request.Context.OrderBy(entry => entry.Key, StringComparer.Ordinal))
            {
                Row(html, key, value.Length > 0 ? value : "(empty)");
            }

            html.Append("</dl>");
        }
    }

    private static void Decisions(StringBuilder html, RequestView request)
    {
        if (request.Decisions.Count == 0)
        {
            return;
        }

        html.Append("<h2>Decisions</h2><dl>");
        foreach (var decision in request.Decisions)
        {
            Row(html, decision.Name, $"{(decision.Approved ? "approved" : "denied")} at {Time(decision.At)}{(decision.Comment.Length > 0 ? ": " + decision.Comment : "")}");
        }

        html.Append("</dl>");
    }

    private static void Forms(StringBuilder html, RequestView request, string formToken, string? refusal, bool decided)
    {
        if (request.State != RequestState.Pending)
        {
            return;
        }

        if (refusal is not null && !decided)
        {
            html.Append(CultureInfo.InvariantCulture, $"<p class=\"note\">{Text(refusal)}</p>");
            return;
        }

        if (decided)
        {
            html.Append("<p class=\"note\">You have agreed. It waits for others too; you can still deny it.</p>");
        }

        // One form, two targets: the comment is the same field for both.
        html.Append(CultureInfo.InvariantCulture, $"""
            <h2>Your decision</h2>
            <form method="post" action="/approval/requests/{request.Id}/deny" autocomplete="off">
            <input type="hidden" name="form" value="{formToken}"><input type="hidden" name="digest" value="{Text(request.Digest)}">
            <label for="comment">Comment (needed to deny)</label><textarea id="comment" name="comment" maxlength="4000"></textarea>
            <button class="no" type="submit">Deny</button>
            """);
        if (!decided)
        {
            html.Append(CultureInfo.InvariantCulture, $"<button class=\"yes\" type=\"submit\" formaction=\"/approval/requests/{request.Id}/approve\">Approve</button>");
        }

        html.Append("</form>");
    }

    /// <summary>Who asks for what, where and why.</summary>
    internal static void Asked(StringBuilder html, RequestView request)
    {
        Row(html, "Asked by", request.RequesterName);
        Row(html, "Connection", request.Connection);
        Row(html, "Database", request.Database);
        Row(html, "Reason", request.Reason.Length > 0 ? request.Reason : "(none given)");
        Row(html, "Rules", string.Join(", ", request.Rules));
        Row(html, "Message", request.Message);
    }

    internal static void Row(StringBuilder html, string name, string value)
    {
        if (value.Length > 0)
        {
            html.Append(CultureInfo.InvariantCulture, $"<dt>{Text(name)}</dt><dd>{Text(value)}</dd>");
        }
    }

    internal static string Frame(string title, string body) =>
        $"<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{Text(title)} · Countersign</title><style>{Style}</style></head><body>{body}</body></html>";

    private static string Assurance(RequestAssurance assurance) => string.Join(
        ", ",
        ((string[])[assurance.MaxAgeSeconds is { } age ? $"at most {TimeSpan.FromSeconds(age)} old" : "", assurance.Amr.Count > 0 ? $"with {string.Join(" and ", assurance.Amr)}" : ""])
            .Where(text => text.Length > 0));

    internal static string Title(RequestKind kind) => kind switch
    {
        RequestKind.Operation => "Approval of an operation",
        RequestKind.Bundle => "Approval of a policy change",
        RequestKind.AccessWindow => "Approval of an access window",
        RequestKind.IdentityLink => "Approval of a link between identities",
        RequestKind.Key => "Approval of a key",
        _ => "Approval of an enrolment",
    };

    internal static string State(RequestState state) => state switch
    {
        RequestState.Pending => "pending",
        RequestState.Approved => "approved",
        RequestState.Denied => "denied",
        RequestState.Expired => "expired",
        RequestState.Cancelled => "cancelled",
        RequestState.Consumed => "consumed",
        _ => "revoked",
    };

    internal static string Time(DateTimeOffset at) => at.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture);
}
