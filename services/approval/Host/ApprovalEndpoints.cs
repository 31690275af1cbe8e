using System.Security.Cryptography;
using System.Text;
using Countersign.Approval.Contracts;
using Countersign.Approval.Grants;
using Countersign.Approval.Host.Inbox;
using Countersign.Approval.Host.Notifications;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.Net.Http.Headers;
using Microsoft.OpenApi;

namespace Countersign.Approval.Host;

/// <summary>Routes of the REST API. Who may call what is said once, here.</summary>
internal static class ApprovalEndpoints
{
    public const string DocumentName = "approval";
    private const long CreateLimit = 8 * 1024 * 1024;

    public static void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/approval/.well-known/jwks.json", GetKeys).ExcludeFromDescription();
        app.MapGet("/approval/openapi/v1.json", WriteOpenApiAsync).ExcludeFromDescription();

        var api = app.MapGroup("/approval/v1").AddEndpointFilter<RefusalFilter>().WithTags("approval");
        Audit(api);
        api.MapPost("/requests", (CreateRequest request, HttpContext http, RequestService service) => service.CreateAsync(http.GetCaller(), request, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Services, AppIds.Proxy, AppIds.Policy, AppIds.Identity)
            .WithRequestBodyLimit(CreateLimit)
            .WithName("createRequest").WithSummary("Asks for an approval, or attaches to the earlier request of the same person for the same digests.")
            .Fails(400, 401, 403, 429, 503);
        api.MapGet("/requests", (string? filter, string? state, int? limit, HttpContext http, RequestLists lists) =>
                lists.ListAsync(http.GetCaller(), filter, state, limit, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("listRequests").WithSummary("Lists requests, the newest first: filter to-decide (what the caller could decide now), mine, or all (enrolled persons).")
            .Fails(400, 401, 403, 503);
        api.MapGet("/requests/{id}", (string id, HttpContext http, RequestService service) => service.GetAsync(http.GetCaller(), id, http.RequestAborted))
            .SignsAnswers(AppIds.Approval).RequireCaller(AppIds.Approval, Callers.Persons | Callers.Services, AppIds.Proxy, AppIds.Policy, AppIds.Identity)
            .WithName("getRequest").WithSummary("One request, for its requester, enrolled persons and the service that asked.")
            .Fails(401, 403, 404, 503);
        api.MapPost("/requests/{id}/approve", (string id, DecideRequest decide, HttpContext http, RequestService service) =>
                service.DecideAsync(http.GetCaller(), id, approve: true, decide, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("approveRequest").WithSummary("Agrees, with the digest that was shown. Saying it again changes nothing.")
            .Fails(400, 401, 403, 404, 409, 410, 503);
        api.MapPost("/requests/{id}/deny", (string id, DecideRequest decide, HttpContext http, RequestService service) =>
                service.DecideAsync(http.GetCaller(), id, approve: false, decide, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("denyRequest").WithSummary("Refuses, with a comment. One person is enough, and it is final.")
            .Fails(400, 401, 403, 404, 409, 410, 503);
        api.MapPost("/requests/{id}/reason", (string id, ExplainRequest explain, HttpContext http, RequestService service) =>
                service.ExplainAsync(http.GetCaller(), id, explain, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("explainRequest").WithSummary("Supplies the requester's reason where a rule wants one and the client could give none.")
            .Fails(400, 401, 403, 404, 409, 410, 503);
        api.MapPost("/requests/{id}/withdraw", (string id, WithdrawRequest? withdraw, HttpContext http, RequestService service) =>
                service.WithdrawAsync(http.GetCaller(), id, withdraw, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons | Callers.Services, AppIds.Proxy)
            .WithName("withdrawRequest").WithSummary("Takes a request back: its requester, or the proxy with the requester's session assertion.")
            .Fails(401, 403, 404, 409, 410, 503);
        api.MapPost("/requests/{id}/revoke", (string id, RevokeRequest? revoke, HttpContext http, RequestService service) =>
                service.RevokeAsync(http.GetCaller(), id, revoke, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("revokeRequest").WithSummary("Takes an approval back: its requester or any enrolled person.")
            .Fails(400, 401, 403, 404, 409, 410, 503);
        api.MapPost("/requests/{id}/redeem", (string id, RedeemRequest redeem, HttpContext http, RequestService service) =>
                service.RedeemAsync(http.GetCaller(), id, redeem, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Services, AppIds.Proxy, AppIds.Policy, AppIds.Identity)
            .WithName("redeemRequest").WithSummary("Redeems one operation, at most once. The same redemption id gets the same answer.")
            .Fails(400, 401, 403, 404, 409, 410, 503);
        api.MapPost("/requests/usable", (UsableRequests usable, HttpContext http, RequestService service) => service.UsableAsync(http.GetCaller(), usable, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Services, AppIds.Proxy)
            .WithName("usableRequests").WithSummary("What a session's person may use on its connection and hasn't used up: approved operations and access windows.")
            .Fails(401, 403, 503);
        api.MapPost("/requests/{id}/break-glass", (string id, BreakGlassRequest alone, HttpContext http, RequestService service) =>
                service.BreakGlassAsync(http.GetCaller(), id, alone, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("breakGlass").WithSummary("The requester goes ahead alone, where policy allows it, with a reason. Alerts at once, and must be reviewed by somebody else.")
            .Fails(400, 401, 403, 404, 409, 410, 503);
        api.MapPost("/requests/{id}/review", (string id, ReviewRequest review, HttpContext http, RequestService service) =>
                service.ReviewAsync(http.GetCaller(), id, review, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("reviewRequest").WithSummary("Closes the review of what one person did alone: an enrolled person who isn't the requester.")
            .Fails(400, 401, 403, 404, 409, 503);
        api.MapGet("/reviews", (string? state, int? limit, HttpContext http, RequestLists lists) => lists.ReviewsAsync(http.GetCaller(), state, limit, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("listReviews").WithSummary("What must be reviewed, or was: state open, overdue or closed. Enrolled persons see all, others their own.")
            .Fails(400, 401, 503);
        MapInbox(api);
    }

    private static void MapInbox(RouteGroupBuilder api)
    {
        api.MapGet("/inbox", (string? state, string? connection, string? requester, string? kind, int? limit, string? after, HttpContext http, ApproverInbox inbox) =>
                inbox.ListAsync(http.GetCaller(), new InboxQuery(state, connection, requester, kind, limit, after), http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("getInbox").WithSummary("What the caller may decide now, and what they may review, the newest first: state pending, review, overdue, or all of it.")
            .Fails(400, 401, 503);
        api.MapPost("/inbox/decisions", (InboxDecisions decisions, HttpContext http, ApproverInbox inbox) =>
                inbox.DecideAsync(http.GetCaller(), decisions, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("decideSeveral").WithSummary("Decides several, each by itself and with its own result: at most 50, each with the digest that was shown.")
            .Fails(400, 401);
        api.MapGet("/events", EventStreamEndpoint.HandleAsync)
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("followRequests").WithSummary("Server-sent events: changes of the requests that the caller may see. Resumes by Last-Event-ID, or sends the event reset.")
            .Produces<string>(200, "text/event-stream").Fails(401, 403, 429, 503);
        api.MapGet("/notifications/dead", (HttpContext http, NotificationDesk desk) => desk.ListAsync(http.GetCaller(), http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("listDeadNotifications").WithSummary("Notifications that were given up, the latest first, for enrolled persons.")
            .Fails(401, 403, 503);
        api.MapPost("/notifications/dead/{id}/retry", (string id, HttpContext http, NotificationDesk desk) => desk.RetryAsync(http.GetCaller(), id, http.RequestAborted))
            .RequireCaller(AppIds.Approval, Callers.Persons)
            .WithName("retryDeadNotification").WithSummary("Sends a notification again that was given up, as if it came now.")
            .Produces(202).Fails(401, 403, 404, 503);
    }

    // Short: a new key is published before it signs, and must have arrived by then at whoever keeps a copy.
    private static IResult GetKeys(GrantKeys keys, HttpContext http)
    {
        var json = keys.Public().ToJson();
        var tag = new EntityTagHeaderValue($"\"{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(json)))[..32]}\"");
        http.Response.Headers.CacheControl = "public, max-age=60, must-revalidate";
        return Results.Bytes(Encoding.UTF8.GetBytes(json), "application/jwk-set+json", entityTag: tag);
    }

    public static void Describe(OpenApiOptions options)
    {
        options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_1;
        options.ShouldInclude = description => description.RelativePath?.StartsWith("approval/v1/", StringComparison.Ordinal) == true;
        options.AddDocumentTransformer((document, _, _) =>
        {
            document.Info = new OpenApiInfo { Title = "Countersign approval", Version = "1" };
            document.Servers?.Clear();
            document.Components ??= new OpenApiComponents();
            document.Components.SecuritySchemes = new Dictionary<string, IOpenApiSecurityScheme>
            {
                ["bearer"] = new OpenApiSecurityScheme { Type = SecuritySchemeType.Http, Scheme = "bearer", BearerFormat = "JWT" },
            };
            document.Security = [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference("bearer", document)] = [] }];
            return Task.CompletedTask;
        });
    }

    private static async Task WriteOpenApiAsync(HttpContext http, [FromKeyedServices(DocumentName)] IOpenApiDocumentProvider provider)
    {
        var document = await provider.GetOpenApiDocumentAsync(http.RequestAborted);
        http.Response.ContentType = "application/json; charset=utf-8";
        using var buffer = new MemoryStream();
        await document.SerializeAsJsonAsync(buffer, OpenApiSpecVersion.OpenApi3_1, http.RequestAborted);
        await http.Response.Body.WriteAsync(buffer.ToArray(), http.RequestAborted);
    }

    private static RouteHandlerBuilder Fails(this RouteHandlerBuilder route, params int[] statuses)
    {
        foreach (var status in statuses)
        {
            route.ProducesProblem(status);
        }

        return route;
    }

    // Around everything else of the route: a token that the filter refuses is an attempt too.
    private static void Audit(RouteGroupBuilder api) => ((IEndpointConventionBuilder)api).Finally(endpoint =>
    {
        var next = endpoint.RequestDelegate!;
        endpoint.RequestDelegate = async http =>
        {
            await next(http);
            if (http.Features.Get<Caller>() is null && http.Response.StatusCode is 401 or 403 && http.Request.Headers.Authorization.Count > 0)
            {
                var code = http.Response.StatusCode == 401 ? "token-rejected" : "caller-not-allowed";
                var subject = http.Request.RouteValues["id"] as string ?? "";
                var source = Source(http);
                await http.RequestServices.GetRequiredService<RequestEvents>().RefusedAsync(
                    "request.attempt-refused", "", "", subject.Length <= 64 ? subject : "", code,
                    new Dictionary<string, string> { ["route"] = (endpoint as RouteEndpointBuilder)?.RoutePattern.RawText ?? "", ["source"] = source }, source);
            }
        };
    });

    /// <summary>Address that a request came from: the client's, or that of whoever passes requests on.</summary>
    internal static string Source(HttpContext http) => http.Connection.RemoteIpAddress?.ToString() ?? "unknown";
}
