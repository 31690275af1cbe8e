using Countersign.Identity.Credentials;
using Countersign.Identity.Federation;
using Countersign.Identity.Persons;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Identity.Host;

/// <summary>What a CLI must know to log somebody in at the provider.</summary>
/// <param name="Issuer">Issuer of the provider.</param>
/// <param name="ClientId">Public client.</param>
/// <param name="Scopes">Scopes to ask for.</param>
/// <param name="DevelopmentOnly">True where the provider is the development issuer.</param>
public sealed record LoginView(string Issuer, string ClientId, IReadOnlyList<string> Scopes, bool DevelopmentOnly);

/// <summary><c>POST /identity/v1/tokens</c>.</summary>
/// <param name="Grant"><c>id_token</c>, <c>refresh</c> or <c>login_code</c>.</param>
/// <param name="Audience">Service that the access token is for; for <c>login_code</c> the caller itself.</param>
/// <param name="IdToken">The provider's id_token.</param>
/// <param name="Nonce">Nonce of the login, where there was one.</param>
/// <param name="RefreshToken">Refresh token.</param>
/// <param name="Code">Login code.</param>
public sealed record TokenRequest(string Grant, string? Audience = null, string? IdToken = null, string? Nonce = null, string? RefreshToken = null, string? Code = null)
{
    /// <summary>Never prints a token.</summary>
    public override string ToString() => $"TokenRequest {{ {Grant} }}";
}

/// <summary>Keys, login, tokens and the beacon.</summary>
internal static class TokenRoutes
{
    public static void Map(RouteGroupBuilder group)
    {
        group.MapGet("/.well-known/jwks.json", ([FromKeyedServices(AppIds.Identity)] SigningKey key)
            => Results.Text(new VerificationKeys([key.PublicKey]).ToJson(), "application/json"));
        group.MapGet("/v1/login", (ProviderOptions provider, IdentityOptions options) => new LoginView(
            provider.Issuer, provider.ClientId, provider.EffectiveScopes(),
            options.DevIssuer.Enabled && provider.Issuer == Federation.DevIssuer.DevIssuerService.IssuerOf(options.BaseUrl)));
        // A login code is the one grant of a service: CallingServiceAsync.
        group.MapPost("/v1/tokens", ExchangeAsync).IsCalledBy(AppIds.Approval);
        group.MapGet("/v1/beacon", async (Beacon beacon, CancellationToken cancellation) => Results.Json(await beacon.SignAsync(cancellation))).RequireCaller(
            AppIds.Identity, Callers.Services, AppIds.Proxy, AppIds.Approval, AppIds.Policy, AppIds.Recorder);
    }

    private static async Task<IResult> ExchangeAsync(
        TokenRequest ask, HttpContext context, IdTokens idTokens, ProviderOptions provider, PersonDirectory persons, AccessTokens tokens, LoginCodes codes,
        AuditTrail audit, IdentityMetrics metrics, ITrustedKeys keys, TimeProvider time, CancellationToken cancellation)
    {
        switch (ask.Grant)
        {
            case "refresh":
                return Results.Ok(await tokens.RefreshAsync(ask.RefreshToken ?? "", ask.Audience ?? "", cancellation));
            case "id_token":
                if (!AccessTokens.IsAudience(ask.Audience))
                {
                    throw new IdentityException(400, "audience-unknown", "audience must name one service.");
                }

                return Results.Ok(await LogInAsync(ask, idTokens, provider, persons, tokens, audit, metrics, cancellation));
            case "login_code":
                // The one grant that a service uses, with its own token: the code is worth nothing to anybody else.
                var service = await CallingServiceAsync(context, keys, time);
                return await CodeAsync(ask, service, codes, tokens, cancellation);
            default:
                throw new IdentityException(400, "grant-unknown", "grant must be id_token, refresh or login_code.");
        }
    }

    private static async Task<IResult> CodeAsync(TokenRequest ask, string service, LoginCodes codes, AccessTokens tokens, CancellationToken cancellation)
    {
        var facts = await codes.TakeAsync(ask.Code ?? "", service, cancellation) ?? throw new IdentityException(400, "login-code-rejected", "The login took too long, or was used already. Log in again.");
        return Results.Ok(await tokens.AccessAsync(facts, service, cancellation));
    }

    private static async Task<string> CallingServiceAsync(HttpContext context, ITrustedKeys keys, TimeProvider time)
    {
        const string Scheme = "Bearer ";
        var header = context.Request.Headers.Authorization.ToString();
        var token = header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) ? header[Scheme.Length..].Trim() : "";
        try
        {
            var issuer = new Microsoft.IdentityModel.JsonWebTokens.JsonWebToken(token).Issuer;
            var theirs = await keys.GetAsync(issuer, context.RequestAborted);
            await theirs.VerifyAsync<ServiceTokenClaims>(token, TokenTypes.Service, issuer, AppIds.Identity, time.GetUtcNow());
            return issuer;
        }
        catch (Exception error) when (error is ArgumentException or TokenRejectedException)
        {
            throw new IdentityException(401, "token-rejected", "A login code is for a service with its own token.");
        }
    }

    private static async Task<IssuedTokens> LogInAsync(
        TokenRequest ask, IdTokens idTokens, ProviderOptions provider, PersonDirectory persons, AccessTokens tokens, AuditTrail audit,
        IdentityMetrics metrics, CancellationToken cancellation)
    {
        ProviderIdentity who;
        try
        {
            who = await idTokens.VerifyAsync(ask.IdToken ?? "", provider.ClientId, ask.Nonce, cancellation);
        }
        catch (TokenRejectedException error)
        {
            metrics.LoggedIn("provider", "refused");
            throw new IdentityException(401, "id-token-rejected", error.Message);
        }

        var signedIn = await persons.SignInAsync(who, cancellation);
        var facts = new LoginFacts(signedIn.Principal.Id, signedIn.Person.Id, who.Acr, who.Amr, who.AuthenticatedAt.ToUnixTimeSeconds());
        var issued = await tokens.BeginAsync(facts, ask.Audience!, cancellation);
        await audit.RecordAsync("login", signedIn.Person.Id, signedIn.Person.Name, signedIn.Principal.Id, cancellation);
        return issued;
    }
}
