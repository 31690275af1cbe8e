using System.Text.Encodings.Web;
using Countersign.Identity.Credentials;
using Countersign.Identity.Federation;
using Countersign.Identity.Persons;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.WebUtilities;

namespace Countersign.Identity.Host;

/// <summary>Login in a browser for the HTML pages of the services: to the provider, back, and on with a one-time code.</summary>
internal static class BrowserRoutes
{
    private const string CookiePrefix = "countersign-login-";
    private const string CallbackPath = "/identity/callback";

    public static void Map(RouteGroupBuilder group)
    {
        group.MapGet("/login", BeginAsync).ExcludeFromDescription();
        group.MapGet("/callback", CompleteAsync).ExcludeFromDescription();
    }

    private static async Task<IResult> BeginAsync(
        HttpContext context, string? audience, string? @return, BrowserLogin login, ReturnTargets targets, IdentityOptions options, CancellationToken cancellation)
    {
        if (!AccessTokens.IsAudience(audience))
        {
            throw new IdentityException(400, "audience-unknown", "audience must name one service.");
        }

        var target = targets.Find(@return) ?? throw new IdentityException(400, "return-not-allowed", "return must be a rooted path or a page of an allowed origin.");
        var (location, cookie, state) = await login.BeginAsync(audience!, target.AbsoluteUri, RedirectUri(options), cancellation);
        context.Response.Cookies.Append(CookieName(state), cookie, Cookie(options));
        return Results.Redirect(location);
    }

    private static async Task<IResult> CompleteAsync(
        HttpContext context, string? code, string? state, string? iss, string? error, BrowserLogin login, ReturnTargets targets, IdentityOptions options,
        PersonDirectory persons, LoginCodes codes, AuditTrail audit, IdentityMetrics metrics, CancellationToken cancellation)
    {
        if (string.IsNullOrEmpty(state) || state.Length > 128 || login.Find(context.Request.Cookies[CookieName(state)], state) is not { } attempt)
        {
            return Page(400, "This login was not begun in this browser, or took too long. Go back and begin again.");
        }

        context.Response.Cookies.Delete(CookieName(state), Cookie(options));
        if (error is not null || string.IsNullOrEmpty(code) || targets.Find(attempt.Return) is not { } target)
        {
            metrics.LoggedIn("provider", "refused");
            return Page(403, "The provider did not log you in.");
        }

        try
        {
            var who = await login.CompleteAsync(attempt, code, iss, RedirectUri(options), cancellation);
            var signedIn = await persons.SignInAsync(who, cancellation);
            var facts = new LoginFacts(signedIn.Principal.Id, signedIn.Person.Id, who.Acr, who.Amr, who.AuthenticatedAt.ToUnixTimeSeconds());
            await audit.RecordAsync("login", signedIn.Person.Id, signedIn.Person.Name, signedIn.Principal.Id, cancellation);
            return Results.Redirect(QueryHelpers.AddQueryString(target.AbsoluteUri, "code", await codes.CreateAsync(facts, attempt.Audience, cancellation)));
        }
        catch (TokenRejectedException rejected)
        {
            metrics.LoggedIn("provider", "refused");
            return Page(403, $"The login was refused: {rejected.Message}.");
        }
        catch (IdentityException refused)
        {
            metrics.LoggedIn("provider", "refused");
            return Page(refused.Status, refused.Message);
        }
    }

    private static string RedirectUri(IdentityOptions options) => options.BaseUrl.TrimEnd('/') + CallbackPath;

    // One cookie a login, so that two tabs don't undo one another.
    private static string CookieName(string state) => CookiePrefix + new string([.. state.Where(char.IsAsciiLetterOrDigit).Take(12)]);

    private static CookieOptions Cookie(IdentityOptions options) => new()
    {
        HttpOnly = true,
        SameSite = SameSiteMode.Lax,
        Secure = options.BaseUrl.StartsWith("https:", StringComparison.OrdinalIgnoreCase),
        Path = CallbackPath,
        MaxAge = BrowserLogin.Lifetime,
    };

    private static IResult Page(int status, string text) => Results.Text(
        $"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Countersign</title><h1>Login</h1><p>{HtmlEncoder.Default.Encode(text)}</p></html>",
        "text/html; charset=utf-8", statusCode: status);
}
