using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Http;

namespace Countersign.Identity.Federation.DevIssuer;

/// <summary>Pages of the development issuer: no scripts, nothing loaded, everything from outside escaped.</summary>
internal static class DevIssuerPages
{
    private const string Style = "body{font:16px system-ui;max-width:28em;margin:3em auto;padding:0 1em}"
        + ".warning{background:#b00020;color:#fff;padding:.6em 1em;font-weight:bold}input{font:inherit;display:block;width:100%;margin:.2em 0 1em;padding:.4em;box-sizing:border-box}"
        + "button{font:inherit;padding:.4em 1.5em}.error{color:#b00020}";

    private const string Policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

    public static IResult Login(string returnTo, string? error) => Page("Log in", $"""
        {Error(error)}<form method="post" action="/dev-issuer/login" autocomplete="off">
        <input type="hidden" name="return" value="{Html(returnTo)}">
        <label>Name<input name="name" autofocus></label>
        <label>Password<input name="password" type="password"></label>
        <button>Log in</button></form>
        """, error is null ? 200 : 401);

    public static IResult Device(string? code, string? account, string? error) => Page("Log in a device", $"""
        {Error(error)}<form method="post" action="/dev-issuer/device" autocomplete="off">
        <p>Logged in as <b>{Html(account ?? "")}</b>. Enter the code only if you started this login yourself, and compare it with what your device shows.</p>
        <label>Code<input name="user_code" value="{Html(code ?? "")}"></label>
        <button>Allow this device</button></form>
        """, error is null ? 200 : 400);

    public static IResult Done() => Page("Done", "<p>The device is logged in. You can close this page.</p>", 200);

    public static IResult Refused(string message) => Page("Refused", Error(message), 403);

    private static string Error(string? message) => message is null ? "" : $"<p class=\"error\">{Html(message)}</p>\n";

    private static string Html(string text) => HtmlEncoder.Default.Encode(text);

    private static PageResult Page(string title, string body, int status) => new PageResult($"""
        <!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{Html(title)}</title>
        <style>{Style}</style></head><body><p class="warning">Countersign development issuer: for development only. Its users and passwords protect nothing.</p>
        <h1>{Html(title)}</h1>{body}</body></html>
        """, status);

    private sealed class PageResult(string html, int status) : IResult
    {
        public Task ExecuteAsync(HttpContext httpContext)
        {
            httpContext.Response.StatusCode = status;
            httpContext.Response.ContentType = "text/html; charset=utf-8";
            // No form-action: the login ends in a redirect to the client, which a browser would count as the form's target.
            httpContext.Response.Headers.ContentSecurityPolicy = Policy;
            return httpContext.Response.WriteAsync(html, httpContext.RequestAborted);
        }
    }
}
