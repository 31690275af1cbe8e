using System.Text.Json.Serialization;

namespace Countersign.Platform.Tokens;

/// <summary>Values of the <c>typ</c> header (docs/formats/tokens.md).</summary>
public static class TokenTypes
{
    /// <summary>Access token of a person or service account, by identity.</summary>
    public const string Access = "at+jwt";
    /// <summary>Session assertion, by identity.</summary>
    public const string Session = "cs-session+jwt";
    /// <summary>Token of one service for another, by the caller.</summary>
    public const string Service = "cs-service+jwt";
    /// <summary>Grant, by approval.</summary>
    public const string Grant = "cs-grant+jwt";
    /// <summary>Signature over a bundle, by policy.</summary>
    public const string Bundle = "cs-bundle+jwt";
    /// <summary>Freshness beacon, by policy or identity.</summary>
    public const string Beacon = "cs-beacon+jwt";
    /// <summary>Signature over an event, by its publisher.</summary>
    public const string Event = "cs-event+jwt";
    /// <summary>Signature over an answer, by the service that was asked.</summary>
    public const string Answer = "cs-answer+jwt";
    /// <summary>Signature over a message to an actor, by the service that it belongs to.</summary>
    public const string Actor = "cs-actor+jwt";
}

/// <summary>Claims of a service token: one caller, one receiver, one minute.</summary>
public sealed record ServiceTokenClaims(
    [property: JsonPropertyName("iss")] string Issuer,
    [property: JsonPropertyName("aud")] string Audience,
    [property: JsonPropertyName("iat")] long IssuedAt,
    [property: JsonPropertyName("exp")] long ExpiresAt);

/// <summary>Public keys of the services, by app id. Keys are enrolled, never taken from the message that they verify.</summary>
public interface ITrustedKeys
{
    /// <summary>The keys of one signer.</summary>
    /// <exception cref="TokenRejectedException">Nobody of that name is enrolled.</exception>
    ValueTask<VerificationKeys> GetAsync(string issuer, CancellationToken cancellation);
}
