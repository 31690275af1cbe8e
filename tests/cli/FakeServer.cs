using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Countersign.Cli.Tests;

/// <summary>A server that answers as the services do: real HTTP, rotating refresh tokens, one audience a token, the contracts' own types.</summary>
internal sealed partial class FakeServer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly ConcurrentDictionary<string, string> _accessTokens = new();
    private readonly ConcurrentDictionary<string, string> _refreshTokens = new();
    private int _counter;

    private FakeServer(WebApplication app) => _app = app;

    public Uri Address { get; private set; } = null!;

    /// <summary>Every request as "METHOD target".</summary>
    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>Answer of any request whose path ends so, before anything else is looked at.</summary>
    public ConcurrentDictionary<string, Func<HttpContext, Task>> Overrides { get; } = new();

    public int Refreshes { get; private set; }

    /// <summary>Set where somebody spent a refresh token twice: a real identity ends the login then.</summary>
    public bool RefreshTokenReused { get; private set; }

    public int AccessTokenSeconds { get; set; } = 900;

    public bool Enrolled { get; set; } = true;

    public bool Bootstrap { get; set; }

    public List<RequestView> ApprovalRequests { get; } = [];

    public List<(string Id, string Verb, DecideRequest Decision)> Decisions { get; } = [];

    public ConcurrentDictionary<string, CredentialView> Credentials { get; } = new();

    public const string Secret = "s3cret:with\\special-characters-0123456789";

    public static async Task<FakeServer> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var app = builder.Build();
        var server = new FakeServer(app);
        app.Use(async (context, next) =>
        {
            var path = context.Request.Path.Value!;
            server.Requests.Enqueue($"{context.Request.Method} {context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget}");
            if (server.Overrides.FirstOrDefault(pair => path.EndsWith(pair.Key, StringComparison.Ordinal)).Value is { } answer)
            {
                await answer(context);
                return;
            }

            var audience = path.Split('/', 3)[1];
            var anonymous = path is "/identity/v1/login" or "/identity/v1/tokens" || path.StartsWith("/proxy/", StringComparison.Ordinal) || path.StartsWith("/issuer", StringComparison.Ordinal);
            if (!anonymous && !server.IsGood(context, audience))
            {
                await ProblemAsync(context, 401, "Not logged in", "The token is not good.", "token-rejected");
                return;
            }

            await next();
        });
        server.MapIdentity(app);
        server.MapIssuer(app);
        server.MapApproval(app);
        server.MapPolicy(app);
        server.MapRecorder(app);
        await app.StartAsync();
        server.Address = new Uri(app.Urls.Single() + "/");
        return server;
    }

    public static Task ProblemAsync(HttpContext context, int status, string title, string detail, string code) =>
        Results.Json(new { type = "about:blank", title, status, detail, code }, statusCode: status, contentType: "application/problem+json").ExecuteAsync(context);

    /// <summary>A login as after 'countersign login', without going through it.</summary>
    public string NewRefreshToken(string person)
    {
        var token = $"refresh-{person}-{Interlocked.Increment(ref _counter)}";
        _refreshTokens[token] = person;
        return token;
    }

    /// <summary>What identity does when a person is disabled: nothing that was given is good any more.</summary>
    public void RevokeAccessTokens() => _accessTokens.Clear();

    public string AccessToken(string person, string audience, string? nonce = null)
    {
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var claims = JsonSerializer.Serialize(new
        {
            iss = "identity",
            aud = audience,
            sub = $"pri_{person}",
            jti = $"{Interlocked.Increment(ref _counter)}",
            iat = now,
            exp = now + AccessTokenSeconds,
            person = $"per_{person}",
            name = $"{person}@example.com",
            kind = "human",
            bootstrap = Bootstrap,
            groups = new[] { "engineers" },
            enrolled = Enrolled,
            auth_time = now,
            amr = new[] { "pwd" },
            nonce,
        });
        var token = $"{Base64Url.EncodeToString("{}"u8)}.{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(claims))}.{Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(8))}";
        _accessTokens[token] = audience;
        return token;
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        SealingKey.Dispose();
    }

    private bool IsGood(HttpContext context, string audience)
    {
        var header = context.Request.Headers.Authorization.ToString();
        return header.StartsWith("Bearer ", StringComparison.Ordinal) && _accessTokens.TryGetValue(header["Bearer ".Length..], out var good) && good == audience;
    }

    private static string PersonOf(HttpContext context)
    {
        var payload = context.Request.Headers.Authorization.ToString().Split('.')[1];
        using var claims = JsonDocument.Parse(Base64Url.DecodeFromChars(payload));
        return claims.RootElement.GetProperty("person").GetString()!;
    }

    private void MapIdentity(WebApplication app)
    {
        app.MapGet("/identity/v1/login", () => new { issuer = $"{Address}issuer", clientId = "countersign-cli", scopes = new[] { "profile", "groups" } });
        app.MapPost("/identity/v1/tokens", async (HttpContext context) =>
        {
            using var body = await JsonDocument.ParseAsync(context.Request.Body);
            var request = body.RootElement;
            var audience = request.GetProperty("audience").GetString()!;
            string person;
            if (request.GetProperty("grant").GetString() == "refresh")
            {
                lock (_refreshTokens)
                {
                    Refreshes++;
                    if (!_refreshTokens.TryRemove(request.GetProperty("refreshToken").GetString()!, out person!))
                    {
                        RefreshTokenReused = true;
                    }
                }

                if (person is null)
                {
                    await ProblemAsync(context, 401, "Login expired", "The refresh token is not good any more.", "refresh-rejected");
                    return;
                }
            }
            else
            {
                IdTokenNonces.Add(request.TryGetProperty("nonce", out var nonce) ? nonce.GetString() : null);
                person = _idTokens[request.GetProperty("idToken").GetString()!];
            }

            await context.Response.WriteAsJsonAsync(new { accessToken = AccessToken(person, audience), expiresIn = AccessTokenSeconds, refreshToken = NewRefreshToken(person) });
        });
        app.MapPost("/identity/v1/bootstrap", (BootstrapBody body) =>
            body.Token == "first-token" ? Results.NoContent() : Results.Json(new { title = "Refused", detail = "The token is wrong.", code = "bootstrap-refused" }, statusCode: 403));
        app.MapPost("/identity/v1/credentials", (CreateCredential create, HttpContext context) =>
        {
            var id = $"crd_{Interlocked.Increment(ref _counter)}";
            var view = new CredentialView(id, $"alice-{_counter}", PersonOf(context), create.Connections, DateTimeOffset.UtcNow, DateTimeOffset.UtcNow.AddSeconds(create.LifetimeSeconds), null);
            Credentials[id] = view;
            return new CreatedCredential(view, Secret);
        });
        app.MapGet("/identity/v1/credentials", () => Credentials.Values);
        app.MapDelete("/identity/v1/credentials/{id}", (string id) =>
        {
            Credentials[id] = Credentials[id] with { RevokedAt = DateTimeOffset.UtcNow };
            return Results.NoContent();
        });
        app.MapGet("/identity/v1/persons", () => Persons);
        app.MapPost("/identity/v1/persons/{id}/enrolment", (string id) => new { requestId = "apr_enrol", digest = new string('e', 64), text = $"+ {id} is enrolled", state = "pending", link = $"{Address}approval/requests/apr_enrol" });
        app.MapPost("/identity/v1/persons/{id}/links", (string id, JsonElement body) => new { requestId = "apr_link", digest = new string('f', 64), text = $"+ {id} and {body.GetProperty("person")} are one human", state = "pending", link = $"{Address}approval/requests/apr_link" });
        app.MapPost("/identity/v1/persons/{id}/disable", () => Results.NoContent());
        app.MapDelete("/identity/v1/persons/{id}/enrolment", () => Results.NoContent());
        app.MapPost("/identity/v1/service-accounts", (JsonElement body) => Results.Accepted(value: new { requestId = "apr_account", digest = new string('1', 64), text = $"+ service account {body.GetProperty("name")}", state = "pending", link = $"{Address}approval/requests/apr_account" }));
        app.MapGet("/proxy/v1/endpoint", () => new { postgres = ProxyEndpoint });
        app.MapGet("/proxy/v1/ca", () => "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n");
    }

    public object ProxyEndpoint { get; set; } = new { host = "localhost", port = 6432, tls = true };

    public List<PersonView> Persons { get; } = [new("per_alice", "alice@example.com", true, false, ["pri_alice"]), new("per_bob", "bob@example.com", false, false, ["pri_bob"])];

    public List<string?> IdTokenNonces { get; } = [];

    private void MapApproval(WebApplication app)
    {
        app.MapGet("/approval/v1/requests", () => ApprovalRequests.ToArray());
        app.MapGet("/approval/v1/requests/{id}", (string id) => ApprovalRequests.FirstOrDefault(request => request.Id == id) is { } found
            ? Results.Ok(found)
            : Results.Json(new { title = "Not found", detail = "There is no such request.", code = "unknown-request" }, statusCode: 404));
        IResult Change(string id, Func<RequestView, RequestView> change)
        {
            var index = ApprovalRequests.FindIndex(request => request.Id == id);
            return Results.Ok(ApprovalRequests[index] = change(ApprovalRequests[index]));
        }

        app.MapPost("/approval/v1/requests/{id}/withdraw", (string id, WithdrawRequest? _) => Change(id, request => request with { State = RequestState.Cancelled }));
        app.MapPost("/approval/v1/requests/{id}/reason", (string id, ExplainRequest explain) => Change(id, request => request with { Reason = explain.Reason }));
        app.MapPost("/approval/v1/requests/{id}/revoke", (string id, RevokeRequest? _) => Change(id, request => request with { State = RequestState.Revoked }));
        app.MapPost("/approval/v1/requests/{id}/{verb}", (string id, string verb, DecideRequest decision) =>
        {
            var index = ApprovalRequests.FindIndex(request => request.Id == id);
            Decisions.Add((id, verb, decision));
            if (decision.Digest != ApprovalRequests[index].Digest)
            {
                return Results.Json(new { title = "Conflict", detail = "Another digest.", code = "digest-mismatch" }, statusCode: 409);
            }

            return Results.Ok(ApprovalRequests[index] = ApprovalRequests[index] with { State = verb == "approve" ? RequestState.Approved : RequestState.Denied });
        });
    }

    private sealed record BootstrapBody(string Token);
}
