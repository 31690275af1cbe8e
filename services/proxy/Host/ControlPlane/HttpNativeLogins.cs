using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Postgres.Ports;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>Logins of native clients over HTTP: identity checks the proof, the proxy checks identity's signature on the assertion.</summary>
internal sealed class HttpNativeLogins(
    [FromKeyedServices(AppIds.Proxy)] IServiceClients clients, ITrustedKeys keys, IFreshness freshness, TimeProvider clock) : INativeLogins
{
    /// <summary>Audience of session assertions.</summary>
    private const string SessionAudience = "session";

    public async ValueTask<NativeLoginChallenge> BeginAsync(BeginNativeLogin request, CancellationToken cancellation)
    {
        if (!freshness.IsFresh)
        {
            throw new LoginUnavailableException(freshness.Problem);
        }

        try
        {
            using var response = await clients.Create(AppIds.Identity)
                .PostAsJsonAsync("v1/native-logins", request, TokenJson.Options, cancellation).ConfigureAwait(false);
            response.EnsureSuccessStatusCode();
            return await response.Content.ReadFromJsonAsync<NativeLoginChallenge>(TokenJson.Options, cancellation).ConfigureAwait(false)
                ?? throw new JsonException("empty answer");
        }
        catch (Exception error) when (IsTransport(error, cancellation))
        {
            throw new LoginUnavailableException("The identity service can't be reached.", error);
        }
    }

    public async ValueTask<NativeLoginOutcome> CompleteAsync(string loginId, CompleteNativeLogin request, CancellationToken cancellation)
    {
        try
        {
            using var response = await clients.Create(AppIds.Identity)
                .PostAsJsonAsync($"v1/native-logins/{Uri.EscapeDataString(loginId)}", request, TokenJson.Options, cancellation).ConfigureAwait(false);
            if (response.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden)
            {
                var problem = await response.Content.ReadFromJsonAsync<Problem>(TokenJson.Options, cancellation).ConfigureAwait(false);
                return NativeLoginOutcome.Failed(problem?.Code switch
                {
                    "credential-expired" => LoginFailure.Expired,
                    "credential-revoked" => LoginFailure.Revoked,
                    "connection-not-allowed" => LoginFailure.ConnectionNotAllowed,
                    _ => LoginFailure.Rejected,
                });
            }

            response.EnsureSuccessStatusCode();
            var result = await response.Content.ReadFromJsonAsync<NativeLoginResult>(TokenJson.Options, cancellation).ConfigureAwait(false)
                ?? throw new JsonException("empty answer");
            var signer = await keys.GetAsync(AppIds.Identity, cancellation).ConfigureAwait(false);
            var claims = await signer.VerifyAsync<SessionAssertionClaims>(
                result.Assertion, TokenTypes.Session, AppIds.Identity, SessionAudience, clock.GetUtcNow()).ConfigureAwait(false);
            return claims.Session == request.Session
                ? new NativeLoginOutcome(LoginFailure.None, result, claims)
                : throw new TokenRejectedException("the assertion is for another session");
        }
        catch (TokenRejectedException error)
        {
            throw new LoginUnavailableException($"The identity service's word was refused: {error.Message}.", error);
        }
        catch (Exception error) when (IsTransport(error, cancellation))
        {
            throw new LoginUnavailableException("The identity service can't be reached.", error);
        }
    }

    private static bool IsTransport(Exception error, CancellationToken cancellation) =>
        !cancellation.IsCancellationRequested && error is (HttpRequestException or JsonException or PortUnavailableException or OperationCanceledException);

    private sealed record Problem(string? Code);
}
