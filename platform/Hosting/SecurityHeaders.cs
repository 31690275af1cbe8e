using Microsoft.AspNetCore.Http;

namespace Countersign.Platform.Hosting;

/// <summary>Headers of every answer. A route that needs another policy (an HTML page) sets its own header, which is kept.</summary>
internal sealed class SecurityHeaders(RequestDelegate next)
{
    public Task InvokeAsync(HttpContext context)
    {
        context.Response.OnStarting(static state =>
        {
            var response = (HttpResponse)state;
            var headers = response.Headers;
            headers.TryAdd("X-Content-Type-Options", "nosniff");
            headers.TryAdd("X-Frame-Options", "DENY");
            // Not no-referrer: with that, browsers send "Origin: null" with the forms of our own pages, and they couldn't be told from foreign ones.
            headers.TryAdd("Referrer-Policy", "same-origin");
            headers.TryAdd("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'");
            headers.TryAdd("Cross-Origin-Opener-Policy", "same-origin");
            headers.TryAdd("Cross-Origin-Resource-Policy", "same-origin");
            if (!headers.ContainsKey("Cache-Control"))
            {
                headers.CacheControl = "no-store";
            }

            if (response.HttpContext.Request.IsHttps)
            {
                headers.TryAdd("Strict-Transport-Security", "max-age=31536000");
            }

            return Task.CompletedTask;
        }, context.Response);
        return next(context);
    }
}
