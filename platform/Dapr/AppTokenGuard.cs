using System.Security.Cryptography;
using System.Text;
using Countersign.Platform.Hosting;
using Microsoft.AspNetCore.Http;

namespace Countersign.Platform.Dapr;

/// <summary>
/// What only the sidecar may call needs the app token: subscriptions, events, and actors. It shows that the caller is the sidecar of this app, and nothing
/// more: whoever sent what the sidecar brings is shown by signatures and tokens in it.
/// </summary>
internal sealed class AppTokenGuard(RequestDelegate next, DaprOptions options)
{
    private readonly byte[] _token = SHA256.HashData(Encoding.UTF8.GetBytes(options.AppToken));

    public Task InvokeAsync(HttpContext context)
    {
        var path = context.Request.Path;
        if (!path.StartsWithSegments("/dapr") && !path.StartsWithSegments("/actors"))
        {
            return next(context);
        }

        // Hashed first: the comparison takes as long whatever the length.
        var given = context.Request.Headers["dapr-api-token"] is [{ } token] ? SHA256.HashData(Encoding.UTF8.GetBytes(token)) : [];
        if (CryptographicOperations.FixedTimeEquals(given, _token))
        {
            return next(context);
        }

        context.Response.StatusCode = StatusCodes.Status401Unauthorized;
        return Problems.Result(StatusCodes.Status401Unauthorized, "app-token", "Only the sidecar of this service may call this.").ExecuteAsync(context);
    }
}
