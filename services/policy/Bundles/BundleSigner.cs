using System.Buffers.Text;
using System.Text.Json.Serialization;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Bundles;

/// <summary>Claims of policy's signature over a bundle: ES256 JWS, typ <c>cs-bundle+jwt</c>. It is made when the bundle comes into force, under its grant.</summary>
public sealed record BundleSignatureClaims
{
    /// <summary>Always <c>policy</c>.</summary>
    [JsonPropertyName("iss")] public required string Issuer { get; init; }
    /// <summary>Version of the bundle.</summary>
    [JsonPropertyName("version")] public required long Version { get; init; }
    /// <summary>SHA-256 of the payload, lower-case hex.</summary>
    [JsonPropertyName("digest")] public required string Digest { get; init; }
    /// <summary>When it came into force, Unix seconds.</summary>
    [JsonPropertyName("iat")] public required long IssuedAt { get; init; }
}

/// <summary>Signs bundles and beacons with policy's own key.</summary>
public sealed class BundleSigner(SigningKey key)
{
    internal const string Issuer = "policy";

    private readonly LatestToken<PolicyBeacon> _beacons = new(key, TokenTypes.Beacon);

    /// <summary>Puts an approved payload into its envelope.</summary>
    /// <param name="payload">Payload that was approved.</param>
    /// <param name="version">Its version.</param>
    /// <param name="grant">Approval's grant over its digest.</param>
    /// <param name="now">When it comes into force.</param>
    public BundleEnvelope Seal(ReadOnlySpan<byte> payload, long version, string grant, DateTimeOffset now)
    {
        var claims = new BundleSignatureClaims
        {
            Issuer = Issuer,
            Version = version,
            Digest = BundleCodec.Digest(payload),
            IssuedAt = now.ToUnixTimeSeconds(),
        };
        return new BundleEnvelope { Payload = Base64Url.EncodeToString(payload), Signature = key.Sign(TokenTypes.Bundle, claims), Grant = grant };
    }

    /// <summary>Policy's half of the freshness beacon (I8): the same one to all who ask within its second.</summary>
    public string Beacon(long version, DateTimeOffset now) => _beacons.Sign(new PolicyBeacon(version, now.ToUnixTimeSeconds()));
}
