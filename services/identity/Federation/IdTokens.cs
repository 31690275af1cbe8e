using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Identity.Persons;
using Countersign.Platform.Tokens;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Protocols.OpenIdConnect;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Identity.Federation;

/// <summary>Checks id_tokens of the provider (OpenID Connect Core 1.0, section 3.1.3.7) and takes over what they say.</summary>
public sealed class IdTokens(ProviderOptions options, ProviderMetadata metadata, TimeProvider time)
{
    /// <summary>Algorithms accepted; asymmetric ones only, whatever the provider's metadata say.</summary>
    public static readonly IReadOnlyList<string> Algorithms =
    [
        SecurityAlgorithms.RsaSha256, SecurityAlgorithms.RsaSha384, SecurityAlgorithms.RsaSha512,
        SecurityAlgorithms.RsaSsaPssSha256, SecurityAlgorithms.RsaSsaPssSha384, SecurityAlgorithms.RsaSsaPssSha512,
        SecurityAlgorithms.EcdsaSha256, SecurityAlgorithms.EcdsaSha384, SecurityAlgorithms.EcdsaSha512,
    ];

    private const int MaxTokenLength = 64 * 1024;
    private const int MaxGroups = 1000;
    private const int MaxGroupLength = 256;
    private const string Email = "email";
    private static readonly string[] DefaultNames = [Email, "preferred_username", "name"];
    private const int MaxMailLength = 254;
    private static readonly TimeSpan Leeway = TimeSpan.FromMinutes(1);
    private static readonly JsonWebTokenHandler Handler = new() { MapInboundClaims = false };

    /// <summary>Checks one.</summary>
    /// <param name="token">Compact JWS.</param>
    /// <param name="clientId">The client that it must have been made for.</param>
    /// <param name="nonce">Nonce of the login; null where none was sent.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <exception cref="TokenRejectedException">Says why, without the token.</exception>
    /// <exception cref="ProviderUnavailableException">The provider's keys can't be had.</exception>
    public async ValueTask<ProviderIdentity> VerifyAsync(string token, string clientId, string? nonce, CancellationToken cancellation)
    {
        if (string.IsNullOrEmpty(token) || token.Length > MaxTokenLength)
        {
            throw new TokenRejectedException("no id_token, or one that is too long");
        }

        var configuration = await metadata.GetAsync(cancellation);
        var result = await ValidateAsync(token, clientId, configuration);
        if (result.Exception is SecurityTokenSignatureKeyNotFoundException)
        {
            result = await ValidateAsync(token, clientId, await metadata.RefreshAsync(configuration, cancellation));
        }

        if (!result.IsValid)
        {
            throw new TokenRejectedException(Reason(result.Exception), result.Exception);
        }

        using var payload = JsonDocument.Parse(Base64UrlEncoder.DecodeBytes(((JsonWebToken)result.SecurityToken).EncodedPayload));
        var claims = payload.RootElement;
        CheckParty(claims, clientId);
        CheckNonce(claims, nonce);
        return Read(claims);
    }

    private Task<TokenValidationResult> ValidateAsync(string token, string clientId, OpenIdConnectConfiguration configuration)
    {
        var now = time.GetUtcNow().UtcDateTime;
        return Handler.ValidateTokenAsync(token, new TokenValidationParameters
        {
            ValidIssuer = metadata.Issuer,
            ValidAudience = clientId,
            ValidAlgorithms = Algorithms,
            IssuerSigningKeys = configuration.SigningKeys,
            TryAllIssuerSigningKeys = false,
            RequireSignedTokens = true,
            RequireExpirationTime = true,
            LifetimeValidator = (notBefore, expires, _, _) =>
                expires is { } end && now - Leeway < end && (notBefore is not { } start || now + Leeway >= start),
        });
    }

    private static void CheckParty(JsonElement claims, string clientId)
    {
        var isShared = claims.GetProperty("aud") is { ValueKind: JsonValueKind.Array } audiences && audiences.GetArrayLength() > 1;
        var party = Text(claims, "azp");
        if ((isShared && party is null) || (party is not null && party != clientId))
        {
            throw new TokenRejectedException("id_token was made for another client");
        }
    }

    private static void CheckNonce(JsonElement claims, string? nonce)
    {
        var given = Text(claims, "nonce");
        if (nonce is not null && (given is null || !CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(given), Encoding.UTF8.GetBytes(nonce))))
        {
            throw new TokenRejectedException("id_token is of another login");
        }
    }

    private ProviderIdentity Read(JsonElement claims)
    {
        var subject = Text(claims, "sub");
        if (string.IsNullOrEmpty(subject) || subject.Length > 255)
        {
            throw new TokenRejectedException("id_token has no subject");
        }

        var issued = Seconds(claims, "iat") ?? throw new TokenRejectedException("id_token does not say when it was made");
        if (issued > (time.GetUtcNow() + Leeway).ToUnixTimeSeconds())
        {
            throw new TokenRejectedException("id_token is from the future");
        }

        // Some providers send 0 for "unknown".
        var authenticated = Seconds(claims, "auth_time") is { } at and > 0 ? Math.Min(at, issued) : issued;
        var groups = Groups(claims);
        var names = options.NameClaims.Count == 0 ? DefaultNames : options.NameClaims;
        var named = names.FirstOrDefault(name => !string.IsNullOrWhiteSpace(NameIn(claims, name)));
        return new ProviderIdentity
        {
            Issuer = metadata.Issuer,
            Subject = subject,
            Name = named is null ? subject : NameIn(claims, named)!,
            HasVouchedName = named is not null && (options.VouchedNameClaims.Contains(named) || (named == Email && IsVerified(claims) == true)),
            Groups = groups ?? [],
            HasGroups = groups is not null,
            Mail = NameIn(claims, Email) is { Length: <= MaxMailLength } mail && !mail.Any(char.IsControl) ? mail : "",
            Acr = Text(claims, "acr") is { Length: <= 256 } acr ? acr : null,
            Amr = [.. Strings(claims, "amr").Where(method => method.Length <= 64).Take(20)],
            AuthenticatedAt = DateTimeOffset.FromUnixTimeSeconds(authenticated),
        };
    }

    // Null where nothing is said of groups.
    private List<string>? Groups(JsonElement claims)
    {
        var name = options.GroupsClaim;
        var parent = claims;
        if (!claims.TryGetProperty(name, out _))
        {
            var path = name.Split('.');
            foreach (var step in path[..^1])
            {
                if (parent.ValueKind != JsonValueKind.Object || !parent.TryGetProperty(step, out parent))
                {
                    return null;
                }
            }

            name = path[^1];
        }

        if (parent.ValueKind != JsonValueKind.Object || !parent.TryGetProperty(name, out var value) || value.ValueKind is not (JsonValueKind.String or JsonValueKind.Array))
        {
            return null;
        }

        var groups = Strings(parent, name).Where(group => group.Length is > 0 and <= MaxGroupLength).Distinct(StringComparer.Ordinal).ToList();
        // Silently dropping some could drop the one that a policy denies by.
        return groups.Count <= MaxGroups ? groups : throw new TokenRejectedException($"id_token has more than {MaxGroups} groups");
    }

    private static List<string> Strings(JsonElement claims, string name)
    {
        if (claims.ValueKind != JsonValueKind.Object || !claims.TryGetProperty(name, out var value))
        {
            return [];
        }

        return value.ValueKind switch
        {
            JsonValueKind.String => [value.GetString()!],
            JsonValueKind.Array => value.EnumerateArray().Where(item => item.ValueKind == JsonValueKind.String).Select(item => item.GetString()!).ToList(),
            _ => [],
        };
    }

    // Policies and approver groups may name persons by this: an address that the provider says it has not verified is anybody's.
    private static string? NameIn(JsonElement claims, string name)
        => name == Email && IsVerified(claims) == false ? null : Text(claims, name);

    // Null where the provider doesn't say.
    private static bool? IsVerified(JsonElement claims) => !claims.TryGetProperty("email_verified", out var verified)
        ? null
        : verified.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.String => verified.GetString() == "true",
            _ => null,
        };

    private static string? Text(JsonElement claims, string name)
        => claims.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static long? Seconds(JsonElement claims, string name)
        => claims.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var seconds)
            && seconds is >= 0 and < 1e11 ? (long)seconds : null;

    private static string Reason(Exception? error) => error switch
    {
        SecurityTokenInvalidAudienceException => "id_token was made for another client",
        SecurityTokenInvalidIssuerException => "id_token is of another issuer",
        SecurityTokenInvalidLifetimeException or SecurityTokenExpiredException or SecurityTokenNoExpirationException => "id_token has expired or is not valid yet",
        SecurityTokenSignatureKeyNotFoundException => "id_token is signed with an unknown key",
        SecurityTokenInvalidAlgorithmException => "id_token is signed with an algorithm that is not accepted",
        _ => "id_token does not verify",
    };
}
