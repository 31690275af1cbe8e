using System.Text.Json;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Platform.Tokens;

/// <summary>The public keys of one signer, as a JWK set (RFC 7517).</summary>
public sealed class VerificationKeys
{
    /// <summary>More drift than this between two clocks stops things (design: who speaks to whom).</summary>
    public static readonly TimeSpan Leeway = TimeSpan.FromSeconds(5);

    private static readonly JsonWebTokenHandler Handler = new() { MapInboundClaims = false };
    private readonly IReadOnlyList<JsonWebKey> _keys;

    /// <summary>Of public keys, e.g. the current one and its predecessor during a rotation.</summary>
    public VerificationKeys(IEnumerable<JsonWebKey> keys) => _keys = [.. keys];

    /// <summary>The keys, for signatures that are no tokens.</summary>
    public IReadOnlyList<JsonWebKey> Keys => _keys;

    /// <summary>Reads a JWK set.</summary>
    /// <exception cref="ArgumentException">Not a JWK set.</exception>
    public static VerificationKeys FromJson(string json) => new(new JsonWebKeySet(json).Keys.Where(key => key.Crv == JsonWebKeyECTypes.P256));

    /// <summary>The JWK set as JSON, public members only.</summary>
    public string ToJson() => JsonSerializer.Serialize(
        new { keys = _keys.Select(key => new { kty = key.Kty, crv = key.Crv, x = key.X, y = key.Y, kid = key.KeyId, use = "sig", alg = "ES256" }) });

    /// <summary>Checks a token and returns its claims. Nothing of a token may be used that did not come through here.</summary>
    /// <param name="token">Compact JWS.</param>
    /// <param name="type">The only <c>typ</c> accepted.</param>
    /// <param name="issuer">The only <c>iss</c> accepted; null where the type has none.</param>
    /// <param name="audience">The only <c>aud</c> accepted; null where the type has none.</param>
    /// <param name="now">The verifier's clock.</param>
    /// <param name="requireExpiry">False for types that don't expire (bundle signatures, beacons).</param>
    /// <exception cref="TokenRejectedException">Says why, without the token.</exception>
    public async ValueTask<TClaims> VerifyAsync<TClaims>(
        string token, string type, string? issuer, string? audience, DateTimeOffset now, bool requireExpiry = true)
    {
        if (token is null || token.Length > TokenJson.MaxTokenLength)
        {
            throw new TokenRejectedException("no token, or one that is too long");
        }

        var parameters = new TokenValidationParameters
        {
            ValidTypes = [type],
            ValidAlgorithms = [SecurityAlgorithms.EcdsaSha256],
            IssuerSigningKeys = _keys,
            TryAllIssuerSigningKeys = false,
            RequireSignedTokens = true,
            ValidateIssuer = issuer is not null,
            ValidIssuer = issuer,
            ValidateAudience = audience is not null,
            ValidAudience = audience,
            ValidateLifetime = requireExpiry,
            RequireExpirationTime = requireExpiry,
            // A validator of one's own is asked even where the lifetime isn't validated: types that don't expire must have none.
            LifetimeValidator = requireExpiry
                ? (notBefore, expires, _, _) =>
                    expires is { } end && now.UtcDateTime - Leeway < end && (notBefore is not { } start || now.UtcDateTime + Leeway >= start)
                : null,
        };
        var result = await Handler.ValidateTokenAsync(token, parameters).ConfigureAwait(false);
        if (!result.IsValid)
        {
            throw new TokenRejectedException(Reason(result.Exception), result.Exception) { IsSignerUnknown = result.Exception is SecurityTokenSignatureKeyNotFoundException };
        }

        // A clock that is ahead would make tokens that live longer than they may; kinds that don't expire are judged by their own verifiers.
        if (requireExpiry && ((JsonWebToken)result.SecurityToken).IssuedAt > now.UtcDateTime + Leeway)
        {
            throw new TokenRejectedException("token lies in the future: clocks differ");
        }

        try
        {
            var payload = Base64UrlEncoder.DecodeBytes(((JsonWebToken)result.SecurityToken).EncodedPayload);
            return JsonSerializer.Deserialize<TClaims>(payload, TokenJson.Options) ?? throw new TokenRejectedException("empty claims");
        }
        catch (JsonException error)
        {
            throw new TokenRejectedException("claims are missing or malformed", error);
        }
    }

    private static string Reason(Exception? error) => error switch
    {
        SecurityTokenInvalidTypeException => "wrong type of token",
        SecurityTokenInvalidAudienceException => "token is for somebody else",
        SecurityTokenInvalidIssuerException => "token is of another issuer",
        SecurityTokenInvalidLifetimeException or SecurityTokenExpiredException or SecurityTokenNoExpirationException => "token has expired",
        SecurityTokenSignatureKeyNotFoundException => "token is signed with an unknown key",
        _ => "token does not verify",
    };
}

/// <summary>How claims are serialised: names as declared by JsonPropertyName, unknown members ignored.</summary>
public static class TokenJson
{
    /// <summary>Longest compact token accepted, in characters.</summary>
    public const int MaxTokenLength = 64 * 1024;

    /// <summary>Serialiser options of all tokens.</summary>
    public static JsonSerializerOptions Options { get; } = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    };
}

/// <summary>A token that must not be used. The message may be shown.</summary>
public sealed class TokenRejectedException : Exception
{
    /// <summary>Says why.</summary>
    public TokenRejectedException(string message, Exception? inner)
        : base(message, inner)
    {
    }

    /// <summary>Says why.</summary>
    public TokenRejectedException(string message)
        : base(message)
    {
    }

    /// <summary>Without a message.</summary>
    public TokenRejectedException()
    {
    }

    /// <summary>True where nothing is wrong but that the signer's key isn't known here: it may be later, where keys are being rotated.</summary>
    public bool IsSignerUnknown { get; init; }
}
