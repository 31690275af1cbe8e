using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.IdentityModel.JsonWebTokens;

namespace Countersign.Platform.Hosting;

/// <summary>Who may call a route.</summary>
[Flags]
public enum Callers
{
    /// <summary>Nobody.</summary>
    None = 0,
    /// <summary>Persons and service accounts, with an access token of identity.</summary>
    Persons = 1,
    /// <summary>Services, with a service token of their own.</summary>
    Services = 2,
}

/// <summary>Who called: exactly one of the two is set.</summary>
/// <param name="Person">Claims of the person's access token.</param>
/// <param name="Service">App id of the service.</param>
/// <param name="Token">The verified token itself, to be passed on as evidence (e.g. <c>CreateRequest.Assertion</c>); never logged.</param>
public sealed record Caller(AccessTokenClaims? Person, string? Service, string Token)
{
    /// <summary>Never prints the token.</summary>
    public override string ToString() => Service is null ? $"person {Person?.Person}" : $"service {Service}";
}

/// <summary>Metadata of a route: who may call it. What <see cref="CallerEndpoints.RequireCaller"/> checks, for whoever compares it with another line of defence.</summary>
/// <param name="Audience">App id of the service that the route belongs to.</param>
/// <param name="Callers">Kinds of callers.</param>
/// <param name="Services">App ids that may call.</param>
public sealed record CallerRequirement(string Audience, Callers Callers, IReadOnlyList<string> Services);

/// <summary>Metadata of a route that checks its callers itself: services that call it.</summary>
/// <param name="Services">App ids.</param>
public sealed record ServiceCallers(IReadOnlyList<string> Services);

/// <summary>Authentication of callers by bearer token (RFC 6750).</summary>
public static class CallerEndpoints
{
    /// <summary>
    /// Lets only these callers through: 401 without a good token, 403 with a good one of somebody else. It runs before the body is read, and
    /// doesn't depend on any middleware having been installed. Twice on one route means both.
    /// </summary>
    /// <param name="builder">Route or group.</param>
    /// <param name="audience">App id of the service that the route belongs to.</param>
    /// <param name="callers">Kinds of callers.</param>
    /// <param name="services">App ids that may call; required where <see cref="Callers.Services"/> is among the kinds.</param>
    public static TBuilder RequireCaller<TBuilder>(this TBuilder builder, string audience, Callers callers, params string[] services)
        where TBuilder : IEndpointConventionBuilder
    {
        if (callers == Callers.None || callers.HasFlag(Callers.Services) != (services.Length > 0))
        {
            throw new ArgumentException("Say which services may call, and only where services may call at all.", nameof(services));
        }

        builder.Add(endpoint =>
        {
            endpoint.Metadata.Add(new CallerRequirement(audience, callers, services));
            var next = endpoint.RequestDelegate ?? throw new InvalidOperationException("A route without handler can't be protected.");
            endpoint.RequestDelegate = async context =>
            {
                if (await AuthenticateAsync(context, audience, callers, services) is { } caller)
                {
                    context.Features.Set(caller);
                    await next(context);
                }
            };
        });
        return builder;
    }

    /// <summary>Says which services call a route that authenticates its callers by itself. It lets nobody in: it is for those who read the routes.</summary>
    public static TBuilder IsCalledBy<TBuilder>(this TBuilder builder, params string[] services)
        where TBuilder : IEndpointConventionBuilder
        => builder.WithMetadata(new ServiceCallers(services));

    /// <summary>The caller that <see cref="RequireCaller"/> let through.</summary>
    /// <exception cref="InvalidOperationException">The route does not require a caller.</exception>
    public static Caller GetCaller(this HttpContext context)
        => context.Features.Get<Caller>() ?? throw new InvalidOperationException("This route does not require a caller.");

    private static async ValueTask<Caller?> AuthenticateAsync(HttpContext context, string audience, Callers callers, string[] services)
    {
        if (Bearer(context.Request) is not { } token)
        {
            await RefuseAsync(context, "token-missing", "This needs a bearer token.");
            return null;
        }

        try
        {
            var unverified = new JsonWebToken(token);
            var trusted = context.RequestServices.GetRequiredService<ITrustedKeys>();
            var now = context.RequestServices.GetRequiredService<TimeProvider>().GetUtcNow();
            switch (unverified.Typ)
            {
                case TokenTypes.Access:
                    var keys = await trusted.GetAsync(AppIds.Identity, context.RequestAborted);
                    var person = await keys.VerifyAsync<AccessTokenClaims>(token, TokenTypes.Access, AppIds.Identity, audience, now);
                    if (callers.HasFlag(Callers.Persons))
                    {
                        return new Caller(person, null, token);
                    }

                    break;
                case TokenTypes.Service:
                    // The issuer chooses the key that must verify the token; it is nobody's word until then.
                    var issuer = unverified.Issuer;
                    var theirs = await trusted.GetAsync(issuer, context.RequestAborted);
                    await theirs.VerifyAsync<ServiceTokenClaims>(token, TokenTypes.Service, issuer, audience, now);
                    if (callers.HasFlag(Callers.Services) && services.Contains(issuer, StringComparer.Ordinal))
                    {
                        return new Caller(null, issuer, token);
                    }

                    break;
                default:
                    await RefuseAsync(context, "token-rejected", "wrong type of token");
                    return null;
            }
        }
        catch (TokenRejectedException error)
        {
            await RefuseAsync(context, "token-rejected", error.Message);
            return null;
        }
        catch (ArgumentException)
        {
            await RefuseAsync(context, "token-rejected", "token does not verify");
            return null;
        }

        await Problems.WriteAsync(context, StatusCodes.Status403Forbidden, "caller-not-allowed", "This token is good, but not for this operation.");
        return null;
    }

    private static string? Bearer(HttpRequest request)
    {
        const string Scheme = "Bearer ";
        if (request.Headers.Authorization is not [{ Length: > 7 } header] || !header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }

        var token = header[Scheme.Length..].Trim();
        return token.Length is > 0 and <= TokenJson.MaxTokenLength ? token : null;
    }

    private static Task RefuseAsync(HttpContext context, string code, string detail)
    {
        context.Response.Headers.WWWAuthenticate = code == "token-missing" ? "Bearer" : "Bearer error=\"invalid_token\"";
        return Problems.WriteAsync(context, StatusCodes.Status401Unauthorized, code, detail);
    }
}
