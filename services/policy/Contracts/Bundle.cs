using System.Text.Json.Serialization;

namespace Countersign.Policy.Contracts;

/// <summary>Everything a proxy enforces, in one signed, versioned document (docs/formats/bundle.md).</summary>
public sealed record Bundle
{
    /// <summary>Increases by at least one with every bundle. A proxy refuses a version that is not above the highest it has seen.</summary>
    public required long Version { get; init; }
    /// <summary>When policy made it.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
    /// <summary>Policy documents as their authors wrote them (YAML), in name order; compiled by whoever enforces them.</summary>
    public IReadOnlyList<BundleDocument> Documents { get; init; } = [];
    /// <summary>Registered targets.</summary>
    public IReadOnlyList<Connection> Connections { get; init; } = [];
}

/// <summary>One document of the policy language.</summary>
/// <param name="Name">File name or document name.</param>
/// <param name="Yaml">The text.</param>
public sealed record BundleDocument(string Name, string Yaml);

/// <summary>A registered target.</summary>
public sealed record Connection
{
    /// <summary>Unique name; what clients give as database name. Lower-case letters, digits and hyphens.</summary>
    public required string Name { get; init; }
    /// <summary><c>postgres</c>.</summary>
    public required string Protocol { get; init; }
    /// <summary>Host name or IP address.</summary>
    public required string Host { get; init; }
    /// <summary>TCP port.</summary>
    public required int Port { get; init; }
    /// <summary>Database at the target where the client names none.</summary>
    public required string Database { get; init; }
    /// <summary><c>verify-full</c>, or <c>disable</c>, which is accepted for loopback addresses only.</summary>
    public string Tls { get; init; } = "verify-full";
    /// <summary>PEM of the certificate authorities trusted for it; null for the system's.</summary>
    public string? TrustedCertificates { get; init; }
    /// <summary>Labels that policies match on.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();
    /// <summary>The proxies that may open its credential.</summary>
    public string ProxyGroup { get; init; } = "default";
    /// <summary>The credential, sealed to the proxy group's key; null where a provider is asked.</summary>
    public SealedCredential? Credential { get; init; }
    /// <summary>Who is asked for the credential for each new session: one of <see cref="CredentialProviders"/>; null where it is sealed in here, or there is none.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? CredentialFrom { get; init; }
}

/// <summary>Where a target's credential comes from, if not sealed in the bundle.</summary>
public static class CredentialProviders
{
    /// <summary>The secret store that only proxies read, under the connection's name (docs/formats/target-credential.md).</summary>
    public const string SecretStore = "secret-store";
}

/// <summary>HPKE (RFC 9180, base mode) ciphertext of a target credential. Associated data binds it to connection, address, port and TLS trust.</summary>
/// <param name="Suite">Name of the HPKE suite.</param>
/// <param name="KeyId">Which key of the proxy group it is sealed to.</param>
/// <param name="Encapsulated">Encapsulated key, base64url.</param>
/// <param name="Ciphertext">Ciphertext with tag, base64url, of the JSON of <see cref="TargetCredential"/>.</param>
public sealed record SealedCredential(string Suite, string KeyId, string Encapsulated, string Ciphertext);

/// <summary>User and password for a target. In clear only in the CLI that seals it and in the memory of a proxy of its group (I7).</summary>
/// <param name="User">Role at the target.</param>
/// <param name="Password">Password; null for none (a loopback target with trust).</param>
public sealed record TargetCredential(string User, string? Password)
{
    /// <summary>Never prints the password.</summary>
    public override string ToString() => $"TargetCredential {{ User = {User} }}";
}

/// <summary>A bundle on its way: the exact signed bytes, policy's signature and approval's grant over their digest (I3).</summary>
public sealed record BundleEnvelope
{
    /// <summary>UTF-8 JSON of <see cref="Bundle"/>, base64url: what is signed is what is decoded.</summary>
    public required string Payload { get; init; }
    /// <summary>ES256 JWS of policy (compact, typ <c>cs-bundle+jwt</c>) with claims <c>version</c> and <c>digest</c> (SHA-256 of the payload, lower-case hex).</summary>
    public required string Signature { get; init; }
    /// <summary>ES256 JWS of approval (typ <c>cs-grant+jwt</c>, kind <c>bundle</c>) whose only digest is the payload's.</summary>
    public required string Grant { get; init; }
    /// <summary>
    /// Where the grant says <c>removal</c>: the bundles that this one follows, oldest first. The first was approved by others; each next one, and at last this,
    /// only takes away from the one before it. Theirs are empty.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<BundleEnvelope>? Before { get; init; }
}

/// <summary>Policy's half of the freshness beacon of I8: ES256 JWS, typ <c>cs-beacon+jwt</c>.</summary>
/// <param name="Version">Version of the bundle in force.</param>
/// <param name="IssuedAt">When it was signed, Unix seconds.</param>
public sealed record PolicyBeacon(
    [property: JsonPropertyName("version")] long Version, [property: JsonPropertyName("iat")] long IssuedAt);
