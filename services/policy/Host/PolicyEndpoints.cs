using System.Text.Json;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Host;

/// <summary>The routes of the service.</summary>
internal static class PolicyEndpoints
{
    private const long LargeBody = 8 * 1024 * 1024;

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { RespectNullableAnnotations = true, AllowDuplicateProperties = false };

    public static void Map(IEndpointRouteBuilder app)
    {
        var api = app.MapGroup("/policy/v1");
        api.AddEndpointFilter(async (context, next) =>
        {
            await context.HttpContext.RequestServices.GetRequiredService<PolicyState>().RefreshAsync(context.HttpContext.RequestAborted);
            return await next(context);
        });
        api.MapGet("/bundle", (PolicyState state) => Current(state) is { } current
                ? Results.Bytes(current.Answer, "application/json; charset=utf-8")
                : Problems.Result(404, "no-bundle", "No policy bundle is in force yet."))
            .RequireCaller(AppIds.Policy, Callers.Services, AppIds.Proxy, AppIds.Approval, AppIds.Identity, AppIds.Recorder, AppIds.Policy);
        api.MapGet("/beacon", (PolicyState state, BundleSigner signer, TimeProvider clock) => Usable(state, () => Results.Json(signer.Beacon(state.Version, clock.GetUtcNow()))))
            .RequireCaller(AppIds.Policy, Callers.Services, AppIds.Proxy, AppIds.Approval, AppIds.Identity, AppIds.Recorder, AppIds.Policy);
        api.MapGet("/approver-groups/{name}", (string name, PolicyState state, Questions questions) => Usable(state, () => questions.Group(name) is { } group
                ? Results.Json(group, Json)
                : Problems.Result(404, "unknown-group", "There is no approver group of that name.")))
            .SignsAnswers(AppIds.Policy).RequireCaller(AppIds.Policy, Callers.Services, AppIds.Approval);
        api.MapGet("/connections", (PolicyState state) => Usable(state, () => Results.Json(
                (state.Current?.Bundle.Connections ?? []).Select(connection => connection with { Credential = null }), Json)))
            .RequireCaller(AppIds.Policy, Callers.Persons | Callers.Services, AppIds.Approval, AppIds.Identity, AppIds.Proxy);
        api.MapGet("/documents", async (HttpContext http, PolicyState state, Readers readers) =>
            {
                await readers.RequireEnrolledAsync(http.GetCaller().Person!, http.RequestAborted);
                return Usable(state, () => Results.Json(new PolicyDocumentsInForce(state.Version, state.Current?.Bundle.Documents ?? []), Json));
            })
            .RequireCaller(AppIds.Policy, Callers.Persons);
        api.MapPost("/changes", async (HttpContext http, ChangeService changes) =>
                await WithErrorsAsync(async () => Results.Json(await changes.ProposeAsync(http.GetCaller(), await BodyAsync<PolicyChangeRequest>(http), http.RequestAborted), Json)))
            .RequireCaller(AppIds.Policy, Callers.Persons).WithRequestBodyLimit(LargeBody);
        api.MapGet("/changes/{requestId}", async (string requestId, HttpContext http, ChangeService changes, Readers readers) =>
                await changes.FindAsync(requestId, http.RequestAborted) is { } change && await readers.MaySeeAsync(http.GetCaller().Person!, change.Person, http.RequestAborted)
                    ? Results.Json(change.View, Json)
                    : Problems.Result(404, "unknown-change", "There is no change with that request that you may see."))
            .RequireCaller(AppIds.Policy, Callers.Persons);
        api.MapGet("/sod-report", async (long? since, HttpContext http, PolicyState state, SegregationReports reports, Readers readers) =>
            {
                await readers.RequireEnrolledAsync(http.GetCaller().Person!, http.RequestAborted);
                return state.Unusable is { } reason ? throw new PortUnavailableException(reason) : Results.Json(await reports.MakeAsync(since, http.RequestAborted), Json);
            })
            .RequireCaller(AppIds.Policy, Callers.Persons);
        api.MapPost("/check", async (HttpContext http, Questions questions) => Results.Json(questions.Check(await BodyAsync<PolicyDocuments>(http)), Json))
            .RequireCaller(AppIds.Policy, Callers.Persons).WithRequestBodyLimit(LargeBody);
        api.MapPost("/test", async (HttpContext http, Questions questions) =>
                await WithErrorsAsync(async () => Results.Json(await questions.TestAsync(await BodyAsync<PolicyDocuments>(http), http.RequestAborted), Json)))
            .RequireCaller(AppIds.Policy, Callers.Persons).WithRequestBodyLimit(LargeBody);
        api.MapPost("/explain", async (HttpContext http, Questions questions, Readers readers) =>
            {
                var person = http.GetCaller().Person!;
                var asked = await BodyAsync<PolicyExplainRequest>(http);
                if (asked.Principal is not null)
                {
                    await readers.RequireEnrolledAsync(person, http.RequestAborted);
                }

                return Results.Json(await questions.ExplainAsync(person, asked, http.RequestAborted), Json);
            })
            .RequireCaller(AppIds.Policy, Callers.Persons).WithRequestBodyLimit(LargeBody);
    }

    private static InForce? Current(PolicyState state) => state.Unusable is { } reason ? throw new PortUnavailableException(reason) : state.Current;

    private static IResult Usable(PolicyState state, Func<IResult> answer) => state.Unusable is { } reason ? throw new PortUnavailableException(reason) : answer();

    private static async Task<IResult> WithErrorsAsync(Func<Task<IResult>> answer)
    {
        try
        {
            return await answer();
        }
        catch (InvalidPolicyException error)
        {
            var lines = error.Errors.Select(one => one.Line > 0 ? $"{one.Document}:{one.Line}:{one.Column}: {one.Message}" : $"{one.Document}: {one.Message}");
            return Results.Problem(
                detail: string.Join('\n', lines), statusCode: 400, title: error.Message,
                extensions: new Dictionary<string, object?> { ["code"] = InvalidPolicyException.Code, ["errors"] = error.Errors });
        }
    }

    /// <summary>The body, without nulls where there must be none, in lists too.</summary>
    private static async Task<T> BodyAsync<T>(HttpContext http)
        where T : class
    {
        try
        {
            var body = await JsonSerializer.DeserializeAsync<T>(http.Request.Body, Json, http.RequestAborted);
            var whole = body switch
            {
                PolicyChangeRequest change => Whole(change.Documents) && Whole(change.RemovedDocuments) && Whole(change.Connections) && Whole(change.RemovedConnections) && Whole(change.Connections.SelectMany(connection => connection.Labels.Values)),
                PolicyDocuments documents => Whole(documents.Documents) && Whole(documents.RemovedDocuments) && Whole(documents.Connections) && Whole(documents.Connections.SelectMany(connection => connection.Labels.Values)),
                PolicyExplainRequest explain => explain.Principal is null || (Whole(explain.Principal.Groups) && Whole(explain.Principal.Amr)),
                _ => false,
            };
            return whole ? body! : throw new ProblemException(400, "bad-request", "The body has null where there must be a value.");
        }
        catch (JsonException error)
        {
            throw new ProblemException(400, "bad-request", $"The body is not the JSON expected, at {error.Path ?? "$"}.");
        }
    }

    private static bool Whole<T>(IEnumerable<T?> items) => items.All(item => item is not null);
}
