using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host.Pages;

/// <summary>One script-free page a request: log in, see exactly what is asked, approve or deny.</summary>
internal sealed class RequestPages(PageSessions sessions, RequestService service, RequestEvents events)
{
    private const long FormLimit = 64 * 1024;

    public static void Map(IEndpointRouteBuilder app)
    {
        var pages = app.MapGroup("/approval/requests/{id}").ExcludeFromDescription();
        pages.MapGet("", (string id, HttpContext http, RequestPages self) => self.GetAsync(http, id));
        pages.MapPost("/approve", (string id, HttpContext http, RequestPages self) => self.DecideAsync(http, id, approve: true)).WithRequestBodyLimit(FormLimit);
        pages.MapPost("/deny", (string id, HttpContext http, RequestPages self) => self.DecideAsync(http, id, approve: false)).WithRequestBodyLimit(FormLimit);
    }

    private async Task<IResult> GetAsync(HttpContext http, string id)
    {
        try
        {
            return await OpenAsync(http, id);
        }
        catch (PortUnavailableException)
        {
            return Unavailable(http, id);
        }
    }

    private async Task<IResult> DecideAsync(HttpContext http, string id, bool approve)
    {
        try
        {
            return await SubmitAsync(http, id, approve);
        }
        catch (PortUnavailableException)
        {
            return Unavailable(http, id);
        }
    }

    private async Task<IResult> OpenAsync(HttpContext http, string id)
    {
        if (!RequestService.IsId(id))
        {
            return Page(http, StatusCodes.Status404NotFound, RequestHtml.Message("Not found", "There is no such request."));
        }

        var page = $"/approval/requests/{id}";
        if (http.Request.Query.ContainsKey("code"))
        {
            return await sessions.CompleteAsync(http)
                ? Results.Redirect(page)
                : Page(http, StatusCodes.Status400BadRequest, RequestHtml.Message("Not logged in", "The login was not begun here, or took too long.", page));
        }

        return await sessions.FindAsync(http) is { } caller ? await ShowAsync(http, caller, id, StatusCodes.Status200OK, null) : PageSessions.Begin(http, page);
    }

    private async Task<IResult> SubmitAsync(HttpContext http, string id, bool approve)
    {
        var page = $"/approval/requests/{id}";
        if (!RequestService.IsId(id))
        {
            return Page(http, StatusCodes.Status404NotFound, RequestHtml.Message("Not found", "There is no such request."));
        }

        // Where the browser says it, a form of another site is refused before anything is looked at.
        if (http.Request.Headers["Sec-Fetch-Site"].ToString() is not ("" or "same-origin" or "none") || !http.Request.HasFormContentType)
        {
            await events.RefusedAsync("request.decision-refused", "", "", id, "foreign-form", source: ApprovalEndpoints.Source(http));
            return Page(http, StatusCodes.Status403Forbidden, RequestHtml.Message("Refused", "This form was not sent from the request's own page."));
        }

        if (await sessions.FindAsync(http) is not { } caller)
        {
            // A form that somebody sent with no token, or one that is good no longer, or forged.
            await events.RefusedAsync("request.decision-refused", "", "", id, "logged-out", source: ApprovalEndpoints.Source(http));
            return Page(http, StatusCodes.Status401Unauthorized, RequestHtml.Message("Logged out", "You were logged out. Nothing was decided.", page));
        }

        var form = await http.Request.ReadFormAsync(http.RequestAborted);
        if (!PageSessions.IsFormToken(caller, id, form["form"].ToString()))
        {
            await events.RefusedAsync("request.decision-refused", caller.Person!.Person, caller.Person.Name, id, "foreign-form");
            return Page(http, StatusCodes.Status403Forbidden, RequestHtml.Message("Refused", "This form is not of this session. Nothing was decided.", page));
        }

        try
        {
            await service.DecideAsync(caller, id, approve, new DecideRequest(form["digest"].ToString(), form["comment"].ToString()), http.RequestAborted);
            http.Response.Headers.Location = page;
            return Results.StatusCode(StatusCodes.Status303SeeOther);
        }
        catch (RefusalException refused)
        {
            return await ShowAsync(http, caller, id, RefusalException.Status(refused.Refusal.Code), refused.Refusal.Message);
        }
        catch (ProblemException problem)
        {
            return await ShowAsync(http, caller, id, problem.Status, problem.Message);
        }
    }

    private async Task<IResult> ShowAsync(HttpContext http, Caller caller, string id, int status, string? problem)
    {
        try
        {
            var (view, document, refusal) = await service.LookAsync(caller, id, http.RequestAborted);
            var missing = Quorum.Missing(document.Spec.AllOf, document.Votes);
            var html = RequestHtml.Request(
                view, caller.Person!.Name, PageSessions.FormToken(caller, id), missing, refusal?.Message,
                document.Votes.Any(vote => vote.Person == caller.Person.Person), problem);
            return Page(http, status, html);
        }
        catch (RefusalException refused)
        {
            return Page(http, RefusalException.Status(refused.Refusal.Code), RequestHtml.Message("Not found", refused.Refusal.Message));
        }
    }

    private static IResult Unavailable(HttpContext http, string id) => Page(
        http, StatusCodes.Status503ServiceUnavailable, RequestHtml.Message("Not now", "Something that is needed can't be reached. Nothing was decided.", $"/approval/requests/{id}"));

    internal static IResult Page(HttpContext http, int status, string html)
    {
        http.Response.Headers.ContentSecurityPolicy = RequestHtml.ContentSecurityPolicy;
        http.Response.Headers.XFrameOptions = "DENY";
        http.Response.Headers["Referrer-Policy"] = "no-referrer";
        http.Response.Headers.CacheControl = "no-store";
        return Results.Content(html, "text/html; charset=utf-8", statusCode: status);
    }
}
