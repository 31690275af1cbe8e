using Countersign.Approval.Contracts;
using Countersign.Approval.Host.Inbox;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host.Pages;

/// <summary>The script-free page of an approver's inbox: filter, see exactly what is asked, decide several.</summary>
internal sealed class InboxPages(PageSessions sessions, ApproverInbox inbox, RequestEvents events)
{
    private const string Address = "/approval/inbox";
    private const string FormSubject = "inbox";
    private const int PageLength = 20;
    private const long FormLimit = 64 * 1024;

    public static void Map(IEndpointRouteBuilder app)
    {
        app.MapGet(Address, (HttpContext http, InboxPages self) => OrUnavailableAsync(http, self.GetAsync)).ExcludeFromDescription();
        app.MapPost(Address, (HttpContext http, InboxPages self) => OrUnavailableAsync(http, self.DecideAsync)).WithRequestBodyLimit(FormLimit).ExcludeFromDescription();
    }

    private static async Task<IResult> OrUnavailableAsync(HttpContext http, Func<HttpContext, Task<IResult>> answer)
    {
        try
        {
            return await answer(http);
        }
        catch (PortUnavailableException)
        {
            return RequestPages.Page(
                http, StatusCodes.Status503ServiceUnavailable, RequestHtml.Message("Not now", "Something that is needed can't be reached. Nothing was decided.", Address));
        }
    }

    private async Task<IResult> GetAsync(HttpContext http)
    {
        if (http.Request.Query.ContainsKey("code"))
        {
            return await sessions.CompleteAsync(http)
                ? Results.Redirect(Address)
                : RequestPages.Page(http, StatusCodes.Status400BadRequest, RequestHtml.Message("Not logged in", "The login was not begun here, or took too long.", Address));
        }

        if (await sessions.FindAsync(http) is not { } caller)
        {
            return PageSessions.Begin(http, Address);
        }

        var asked = http.Request.Query;
        var query = new InboxQuery(asked["state"], asked["connection"], asked["requester"], asked["kind"], PageLength, asked["after"]);
        try
        {
            var found = await inbox.ListAsync(caller, query, http.RequestAborted);
            return RequestPages.Page(http, StatusCodes.Status200OK, InboxHtml.List(found, query, caller.Person!.Name, PageSessions.FormToken(caller, FormSubject)));
        }
        catch (ProblemException problem)
        {
            return RequestPages.Page(http, problem.Status, RequestHtml.Message("No such filter", problem.Message, Address));
        }
    }

    private async Task<IResult> DecideAsync(HttpContext http)
    {
        // Where the browser says it, a form of another site is refused before anything is looked at.
        if (http.Request.Headers["Sec-Fetch-Site"].ToString() is not ("" or "same-origin" or "none") || !http.Request.HasFormContentType)
        {
            await events.RefusedAsync("request.decision-refused", "", "", FormSubject, "foreign-form", source: ApprovalEndpoints.Source(http));
            return RequestPages.Page(http, StatusCodes.Status403Forbidden, RequestHtml.Message("Refused", "This form was not sent from the inbox."));
        }

        if (await sessions.FindAsync(http) is not { } caller)
        {
            // A form that somebody sent with no token, or one that is good no longer, or forged.
            await events.RefusedAsync("request.decision-refused", "", "", FormSubject, "logged-out", source: ApprovalEndpoints.Source(http));
            return RequestPages.Page(http, StatusCodes.Status401Unauthorized, RequestHtml.Message("Logged out", "You were logged out. Nothing was decided.", Address));
        }

        var form = await http.Request.ReadFormAsync(http.RequestAborted);
        if (!PageSessions.IsFormToken(caller, FormSubject, form["form"].ToString()))
        {
            await events.RefusedAsync("request.decision-refused", caller.Person!.Person, caller.Person.Name, FormSubject, "foreign-form");
            return RequestPages.Page(http, StatusCodes.Status403Forbidden, RequestHtml.Message("Refused", "This form is not of this session. Nothing was decided.", Address));
        }

        var approve = form["decision"].ToString() == "approve";
        if (!approve && form["decision"].ToString() != "deny")
        {
            return RequestPages.Page(http, StatusCodes.Status400BadRequest, RequestHtml.Message("Nothing decided", "The form says neither approve nor deny.", Address));
        }

        try
        {
            var comment = form["comment"].ToString();
            var decisions = form["pick"].OfType<string>().Select(id => new InboxDecision(id, form["digest." + id].ToString(), approve, comment)).ToList();
            if (decisions.Count == 0)
            {
                return RequestPages.Page(http, StatusCodes.Status400BadRequest, RequestHtml.Message("Nothing decided", "Tick what you decide on.", Address));
            }

            return RequestPages.Page(
                http, StatusCodes.Status200OK, InboxHtml.Results(await inbox.DecideAsync(caller, new InboxDecisions(decisions), http.RequestAborted), approve));
        }
        catch (ProblemException problem)
        {
            return RequestPages.Page(http, problem.Status, RequestHtml.Message("Nothing decided", problem.Message, Address));
        }
    }
}
