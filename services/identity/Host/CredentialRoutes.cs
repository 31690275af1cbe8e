using Countersign.Identity.Contracts;
using Countersign.Identity.Credentials;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Host;

/// <summary>Access credentials, logins with them, and what was taken back.</summary>
internal static class CredentialRoutes
{
    public static void Map(RouteGroupBuilder group)
    {
        var own = group.MapGroup("/v1/credentials").RequireCaller(AppIds.Identity, Callers.Persons);
        own.MapPost("/", async (CreateCredential ask, HttpContext context, AccessCredentials credentials, CancellationToken cancellation)
            => Results.Json(await credentials.CreateAsync(context.GetCaller().Person!, ask, cancellation), statusCode: StatusCodes.Status201Created));
        own.MapGet("/", (HttpContext context, AccessCredentials credentials, CancellationToken cancellation)
            => credentials.ListAsync(context.GetCaller().Person!.Person, cancellation).AsTask());
        own.MapDelete("/{id}", (string id, string? reason, HttpContext context, PersonLifecycle lifecycle, CancellationToken cancellation)
            => lifecycle.RevokeCredentialAsync(context.GetCaller().Person!, context.GetCaller().Token, id, PersonRoutes.Reason(reason), cancellation));

        group.MapPost("/v1/sessions/{id}/revoke", async (string id, string? reason, HttpContext context, PersonLifecycle lifecycle, CancellationToken cancellation)
            => await lifecycle.EndSessionAsync(context.GetCaller().Person!, context.GetCaller().Token, id, PersonRoutes.Reason(reason), cancellation)).RequireCaller(AppIds.Identity, Callers.Persons);

        var proxy = group.MapGroup("/v1").RequireCaller(AppIds.Identity, Callers.Services, AppIds.Proxy);
        proxy.MapPost("/native-logins", (BeginNativeLogin ask, HttpContext context, NativeLogins logins, CancellationToken cancellation)
            => logins.BeginAsync(ask, context.GetCaller().Service!, cancellation).AsTask());
        proxy.MapPost("/native-logins/{id}", (string id, CompleteNativeLogin ask, HttpContext context, NativeLogins logins, CancellationToken cancellation)
            => logins.CompleteAsync(id, ask, context.GetCaller().Service!, cancellation).AsTask());
        proxy.MapGet("/revocations", async (long? after, RevocationFeed revocations, CancellationToken cancellation) =>
        {
            await revocations.CatchUpAsync(cancellation);
            return revocations.After(after ?? 0);
        }).SignsAnswers(AppIds.Identity);
    }
}
