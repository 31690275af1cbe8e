using System.Collections.Concurrent;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Countersign.Approval.Tests;

/// <summary>Identity and policy as approval sees them, over real HTTP; identity signs real tokens.</summary>
public sealed class FakePeers : IAsyncDisposable
{
    private readonly TimeProvider _clock;
    private WebApplication _app = null!;
    private int _mailsAsked;

    private FakePeers(TimeProvider clock) => _clock = clock;

    public SigningKey IdentityKey { get; } = SigningKey.Create();
    public SigningKey PolicyKey { get; } = SigningKey.Create();

    /// <summary>Where somebody else answers in the place of both: what they sign with, and for whom they say that it is. No key: they don't sign.</summary>
    public (SigningKey? Key, string Audience)? Impostor { get; set; }
    public ConcurrentDictionary<string, PersonStanding> Persons { get; } = new();
    public ConcurrentDictionary<string, (string[] Persons, string? IdpGroup)> Groups { get; } = new();
    /// <summary>Addresses that the provider named.</summary>
    public ConcurrentDictionary<string, string> Mails { get; } = new();
    public ConcurrentDictionary<string, string> LoginCodes { get; } = new();
    public bool IdentityDown { get; set; }
    public bool IdentityMailsDown { get; set; }
    public int MailsAsked => Volatile.Read(ref _mailsAsked);
    public bool PolicyDown { get; set; }
    public string Address { get; private set; } = "";

    public static async Task<FakePeers> StartAsync(TimeProvider clock)
    {
        var peers = new FakePeers(clock);
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var app = builder.Build();
        app.Use((context, next) =>
        {
            var appId = context.Request.Path.StartsWithSegments("/identity", StringComparison.Ordinal) ? AppIds.Identity : AppIds.Policy;
            var (key, audience) = peers.Impostor ?? (appId == AppIds.Identity ? peers.IdentityKey : peers.PolicyKey, AppIds.Approval);
            return key is null ? next(context) : AnswerSigning.AnswerAsync(context, next, key, appId, _ => audience, clock);
        });
        app.UseRouting();
        app.MapGet("/identity/v1/persons/{id}/standing", (string id) =>
            peers.IdentityDown ? Results.StatusCode(503)
            : peers.Persons.TryGetValue(id, out var standing) ? Results.Json(standing) : Results.NotFound());
        app.MapGet("/identity/v1/persons", (bool? enrolled) => Interlocked.Increment(ref peers._mailsAsked) > 0 && (peers.IdentityDown || peers.IdentityMailsDown)
            ? Results.StatusCode(503)
            : Results.Json(peers.Persons.Values.Where(person => enrolled is null || (person is { Enrolled: true, Disabled: false }) == enrolled)
                .Select(person => new PersonView(person.Person, person.Name, person.Enrolled, person.Disabled, [])
                {
                    Groups = person.Groups,
                    Mail = peers.Mails.GetValueOrDefault(person.Person),
                })));
        app.MapPost("/identity/v1/tokens", (JsonElement body, HttpContext http) =>
            peers.IdentityDown ? Results.StatusCode(503)
            : http.Request.Headers.Authorization.ToString().StartsWith("Bearer ", StringComparison.Ordinal)
                && body.GetProperty("grant").GetString() == "login_code"
                && peers.LoginCodes.TryRemove(body.GetProperty("code").GetString()!, out var person)
                ? Results.Json(new { accessToken = peers.Token(person), expiresIn = 900, refreshToken = "r" })
                : Results.StatusCode(400));
        app.MapGet("/policy/v1/approver-groups/{name}", (string name) =>
            peers.PolicyDown ? Results.StatusCode(503)
            : peers.Groups.TryGetValue(name, out var group) ? Results.Json(new { name, persons = group.Persons, idpGroup = group.IdpGroup }) : Results.NotFound());
        await app.StartAsync();
        peers._app = app;
        peers.Address = app.Urls.Single();
        return peers;
    }

    /// <summary>Adds a person; who is linked to whom is said by <paramref name="sameAs"/>.</summary>
    public void Person(
        string id, bool enrolled = true, bool disabled = false, string[]? groups = null, string[]? sameAs = null, bool bootstrapOpen = false) =>
        Persons[id] = new PersonStanding(id, id + "@example.com", enrolled, disabled, groups ?? [], [id, .. sameAs ?? []], bootstrapOpen);

    /// <summary>An access token of a person.</summary>
    public string Token(
        string person, string audience = "approval", TimeSpan? lifetime = null, string kind = "human", string[]? owners = null, SigningKey? key = null,
        string type = TokenTypes.Access, string issuer = "identity", string[]? amr = null, TimeSpan age = default, string? actor = null)
    {
        var now = _clock.GetUtcNow();
        return (key ?? IdentityKey).Sign(type, new AccessTokenClaims
        {
            Issuer = issuer,
            Audience = audience,
            Subject = "prn_" + person,
            Id = Guid.NewGuid().ToString("N"),
            IssuedAt = now.ToUnixTimeSeconds(),
            ExpiresAt = (now + (lifetime ?? TimeSpan.FromMinutes(15))).ToUnixTimeSeconds(),
            Person = person,
            Name = person + "@example.com",
            Kind = kind,
            Owners = owners ?? [],
            // What a token says of enrolment is not what counts.
            Enrolled = true,
            Amr = amr ?? [],
            Actor = actor is null ? null : new TokenActor(actor),
            AuthenticatedAt = (now - age).ToUnixTimeSeconds(),
        });
    }

    /// <summary>A session assertion of a person.</summary>
    public string Session(string person, string connection = "shop", string[]? owners = null, SigningKey? key = null, string audience = "session", TimeSpan? lifetime = null,
        string? actor = null)
    {
        var now = _clock.GetUtcNow();
        return (key ?? IdentityKey).Sign(TokenTypes.Session, new SessionAssertionClaims
        {
            Issuer = "identity",
            Audience = audience,
            Subject = "prn_" + person,
            Session = "ses_1",
            Proxy = "proxy-1",
            Connection = connection,
            Credential = "crd_1",
            Person = person,
            Name = person + "@example.com",
            Kind = "human",
            Owners = owners ?? [],
            Actor = actor is null ? null : new TokenActor(actor),
            AuthenticatedAt = now.ToUnixTimeSeconds(),
            IssuedAt = now.ToUnixTimeSeconds(),
            ExpiresAt = (now + (lifetime ?? TimeSpan.FromHours(8))).ToUnixTimeSeconds(),
        });
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        IdentityKey.Dispose();
        PolicyKey.Dispose();
    }
}
