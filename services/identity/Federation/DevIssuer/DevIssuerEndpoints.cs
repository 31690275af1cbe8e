using System.Collections.Immutable;
using System.Globalization;
using System.Security.Claims;
using Microsoft.AspNetCore;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Primitives;
using OpenIddict.Abstractions;
using OpenIddict.Server.AspNetCore;
using static OpenIddict.Abstractions.OpenIddictConstants;

namespace Countersign.Identity.Federation.DevIssuer;

/// <summary>What people see of the development issuer: login, and verification of a device code.</summary>
internal static class DevIssuerEndpoints
{
    private const string Root = "/" + DevIssuerService.Prefix;

    public static void Map(IEndpointRouteBuilder app)
    {
        var group = app.MapGroup(Root).ExcludeFromDescription();
        group.MapGet("/login", (string? @return) => DevIssuerPages.Login(Local(@return), null));
        group.MapPost("/login", LogInAsync).DisableAntiforgery();
        group.MapMethods("/authorize", [HttpMethods.Get, HttpMethods.Post], AuthorizeAsync);
        group.MapGet("/device", ShowDeviceAsync);
        group.MapPost("/device", AllowDeviceAsync).DisableAntiforgery();
    }

    private static async Task<IResult> LogInAsync(HttpContext context, DevUsers users)
    {
        if (IsForeign(context.Request))
        {
            return DevIssuerPages.Refused("This form was sent from another site.");
        }

        var form = await context.Request.ReadFormAsync(context.RequestAborted);
        var returnTo = Local(form["return"]);
        var account = users.Check(form["name"].ToString(), form["password"].ToString());
        if (account is null)
        {
            return DevIssuerPages.Login(returnTo, "Name or password is wrong.");
        }

        var identity = new ClaimsIdentity(DevIssuerService.Scheme);
        identity.AddClaim(new Claim(Claims.Subject, account.Name));
        identity.AddClaim(new Claim(Claims.AuthenticationTime, Now()));
        await context.SignInAsync(DevIssuerService.Scheme, new ClaimsPrincipal(identity));
        return Results.LocalRedirect(returnTo);
    }

    private static async Task<IResult> AuthorizeAsync(HttpContext context, DevUsers users)
    {
        var request = context.GetOpenIddictServerRequest() ?? throw new InvalidOperationException("OpenIddict did not handle this request.");
        var (account, authenticatedAt) = await AccountAsync(context, users);
        if (account is null || request.HasPromptValue(PromptValues.Login))
        {
            if (request.HasPromptValue(PromptValues.None))
            {
                return Forbid(Errors.LoginRequired, "Nobody is logged in.");
            }

            // Without prompt, so that it ends.
            var given = context.Request.HasFormContentType ? (IEnumerable<KeyValuePair<string, StringValues>>)context.Request.Form : context.Request.Query;
            var again = Root + "/authorize" + QueryString.Create(given.Where(parameter => parameter.Key != Parameters.Prompt));
            return Results.LocalRedirect($"{Root}/login?return={Uri.EscapeDataString(again)}");
        }

        return Results.SignIn(Principal(account, authenticatedAt, request.GetScopes()), null, OpenIddictServerAspNetCoreDefaults.AuthenticationScheme);
    }

    private static async Task<IResult> ShowDeviceAsync(HttpContext context, DevUsers users)
    {
        var code = context.Request.Query[Parameters.UserCode].ToString();
        var (account, _) = await AccountAsync(context, users);
        if (account is null)
        {
            return Results.LocalRedirect($"{Root}/login?return={Uri.EscapeDataString($"{Root}/device{context.Request.QueryString}")}");
        }

        return DevIssuerPages.Device(code, account.Name, null);
    }

    private static async Task<IResult> AllowDeviceAsync(HttpContext context, DevUsers users)
    {
        if (IsForeign(context.Request))
        {
            return DevIssuerPages.Refused("This form was sent from another site.");
        }

        var (account, authenticatedAt) = await AccountAsync(context, users);
        if (account is null)
        {
            return DevIssuerPages.Login(Root + "/device", "Log in first.");
        }

        var request = context.GetOpenIddictServerRequest() ?? throw new InvalidOperationException("OpenIddict did not handle this request.");
        var device = await context.AuthenticateAsync(OpenIddictServerAspNetCoreDefaults.AuthenticationScheme);
        if (!device.Succeeded || string.IsNullOrEmpty(device.Principal?.GetClaim(Claims.ClientId)))
        {
            return DevIssuerPages.Device(request.UserCode, account.Name, "There is no login with this code; it may have expired.");
        }

        var properties = new AuthenticationProperties { RedirectUri = null };
        return Results.SignIn(
            Principal(account, authenticatedAt, device.Principal.GetScopes()), properties, OpenIddictServerAspNetCoreDefaults.AuthenticationScheme);
    }

    private static ClaimsPrincipal Principal(DevAccount account, string authenticatedAt, ImmutableArray<string> scopes)
    {
        var identity = new ClaimsIdentity(
            authenticationType: DevIssuerService.Scheme, nameType: Claims.Name, roleType: Claims.Role);
        identity.SetClaim(Claims.Subject, account.Name)
            .SetClaim(Claims.Name, account.Name)
            .SetClaim(Claims.Email, account.Email)
            .SetClaim(Claims.EmailVerified, true)
            .SetClaim(Claims.AuthenticationTime, long.Parse(authenticatedAt, CultureInfo.InvariantCulture))
            .SetClaims(Claims.AuthenticationMethodReference, ["pwd"])
            .SetClaims("groups", [.. account.Groups]);
        identity.SetScopes(scopes);
        identity.SetDestinations(claim => claim.Type switch
        {
            Claims.Email or Claims.EmailVerified => scopes.Contains(Scopes.Email) ? [Destinations.IdentityToken] : [],
            "groups" => scopes.Contains("groups") ? [Destinations.IdentityToken, Destinations.AccessToken] : [],
            _ => [Destinations.IdentityToken, Destinations.AccessToken],
        });
        return new ClaimsPrincipal(identity);
    }

    private static async Task<(DevAccount? Account, string AuthenticatedAt)> AccountAsync(HttpContext context, DevUsers users)
    {
        var login = await context.AuthenticateAsync(DevIssuerService.Scheme);
        // Looked up each time: who was taken out of the configuration is gone.
        return login.Principal?.FindFirst(Claims.Subject) is { } subject
            ? (users.Find(subject.Value), login.Principal.FindFirst(Claims.AuthenticationTime)?.Value ?? Now())
            : (null, Now());
    }

    private static IResult Forbid(string error, string description) => Results.Forbid(
        new AuthenticationProperties(new Dictionary<string, string?>
        {
            [OpenIddictServerAspNetCoreConstants.Properties.Error] = error,
            [OpenIddictServerAspNetCoreConstants.Properties.ErrorDescription] = description,
        }),
        [OpenIddictServerAspNetCoreDefaults.AuthenticationScheme]);

    private static string Now() => DateTimeOffset.UtcNow.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);

    // Where a login leads to: a page of this issuer and nothing else.
    private static string Local(string? target)
        => target is not null && target.StartsWith(Root + "/", StringComparison.Ordinal) && !target.Contains('\\', StringComparison.Ordinal) && !target.Any(char.IsControl)
            ? target : Root + "/device";

    // A browser says where a form came from; curl and the like say nothing, and carry no cookies of a victim either.
    private static bool IsForeign(HttpRequest request)
    {
        var site = request.Headers["Sec-Fetch-Site"].ToString();
        var origin = request.Headers.Origin.ToString();
        return site is not ("" or "same-origin" or "none")
            || (origin.Length > 0 && origin != $"{request.Scheme}://{request.Host}");
    }
}
