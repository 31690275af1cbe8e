using System.Text.Json.Serialization;

namespace Countersign.Identity.Contracts;

/// <summary>Claims of a Countersign access token: ES256 JWS, typ <c>at+jwt</c>, 15 minutes at most, one audience (docs/formats/tokens.md).</summary>
public sealed record AccessTokenClaims
{
    /// <summary>Always <c>identity</c>.</summary>
    [JsonPropertyName("iss")] public required string Issuer { get; init; }
    /// <summary>The one service it is for: <c>approval</c>, <c>policy</c>, <c>recorder</c>, <c>identity</c>, <c>proxy</c>.</summary>
    [JsonPropertyName("aud")] public required string Audience { get; init; }
    /// <summary>Principal id.</summary>
    [JsonPropertyName("sub")] public required string Subject { get; init; }
    /// <summary>Token id.</summary>
    [JsonPropertyName("jti")] public required string Id { get; init; }
    /// <summary>Issued, Unix seconds.</summary>
    [JsonPropertyName("iat")] public required long IssuedAt { get; init; }
    /// <summary>Expires, Unix seconds.</summary>
    [JsonPropertyName("exp")] public required long ExpiresAt { get; init; }
    /// <summary>Person id.</summary>
    [JsonPropertyName("person")] public required string Person { get; init; }
    /// <summary>Display name.</summary>
    [JsonPropertyName("name")] public required string Name { get; init; }
    /// <summary><c>human</c> or <c>service</c>.</summary>
    [JsonPropertyName("kind")] public required string Kind { get; init; }
    /// <summary>Persons that own the service account; empty for humans.</summary>
    [JsonPropertyName("owners")] public IReadOnlyList<string> Owners { get; init; } = [];
    /// <summary>Group claims of the provider.</summary>
    [JsonPropertyName("groups")] public IReadOnlyList<string> Groups { get; init; } = [];
    /// <summary>Whether the person was enrolled when the token was made. Who decides asks identity again.</summary>
    [JsonPropertyName("enrolled")] public bool Enrolled { get; init; }
    /// <summary>True for the first person while nobody else is enrolled: may act alone on control requests (I3).</summary>
    [JsonPropertyName("bootstrap")] public bool Bootstrap { get; init; }
    /// <summary>Assurance level.</summary>
    [JsonPropertyName("acr")] public string? Acr { get; init; }
    /// <summary>Authentication methods.</summary>
    [JsonPropertyName("amr")] public IReadOnlyList<string> Amr { get; init; } = [];
    /// <summary>Who uses it in this person's name (RFC 8693 section 4.1); null where nobody does. Such a token decides nothing.</summary>
    [JsonPropertyName("act"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public TokenActor? Actor { get; init; }
    /// <summary>When the person authenticated, Unix seconds.</summary>
    [JsonPropertyName("auth_time")] public required long AuthenticatedAt { get; init; }
}

/// <summary>Somebody who acts in another one's name.</summary>
/// <param name="Person">Person id.</param>
public sealed record TokenActor([property: JsonPropertyName("person")] string Person);

/// <summary>Claims of a session assertion: ES256 JWS by identity, typ <c>cs-session+jwt</c>. Approval takes requester and executor from it.</summary>
public sealed record SessionAssertionClaims
{
    /// <summary>Always <c>identity</c>.</summary>
    [JsonPropertyName("iss")] public required string Issuer { get; init; }
    /// <summary>Always <c>session</c>.</summary>
    [JsonPropertyName("aud")] public required string Audience { get; init; }
    /// <summary>Principal id.</summary>
    [JsonPropertyName("sub")] public required string Subject { get; init; }
    /// <summary>Session id, chosen by the proxy at login.</summary>
    [JsonPropertyName("sid")] public required string Session { get; init; }
    /// <summary>Proxy id that the login came through.</summary>
    [JsonPropertyName("proxy")] public required string Proxy { get; init; }
    /// <summary>Connection the session is for.</summary>
    [JsonPropertyName("connection")] public required string Connection { get; init; }
    /// <summary>Access credential that was used.</summary>
    [JsonPropertyName("credential")] public required string Credential { get; init; }
    /// <summary>Person id.</summary>
    [JsonPropertyName("person")] public required string Person { get; init; }
    /// <summary>Display name.</summary>
    [JsonPropertyName("name")] public required string Name { get; init; }
    /// <summary><c>human</c> or <c>service</c>.</summary>
    [JsonPropertyName("kind")] public required string Kind { get; init; }
    /// <summary>Persons that own the service account.</summary>
    [JsonPropertyName("owners")] public IReadOnlyList<string> Owners { get; init; } = [];
    /// <summary>Group claims of the provider.</summary>
    [JsonPropertyName("groups")] public IReadOnlyList<string> Groups { get; init; } = [];
    /// <summary>Assurance level.</summary>
    [JsonPropertyName("acr")] public string? Acr { get; init; }
    /// <summary>Authentication methods.</summary>
    [JsonPropertyName("amr")] public IReadOnlyList<string> Amr { get; init; } = [];
    /// <summary>Who uses it in this person's name (RFC 8693 section 4.1); null where nobody does. Such a token decides nothing.</summary>
    [JsonPropertyName("act"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public TokenActor? Actor { get; init; }
    /// <summary>When the person authenticated, Unix seconds.</summary>
    [JsonPropertyName("auth_time")] public required long AuthenticatedAt { get; init; }
    /// <summary>Issued, Unix seconds.</summary>
    [JsonPropertyName("iat")] public required long IssuedAt { get; init; }
    /// <summary>When the credential expires, Unix seconds: the session ends then at the latest.</summary>
    [JsonPropertyName("exp")] public required long ExpiresAt { get; init; }
}

/// <summary><c>POST /identity/v1/native-logins</c>, by a proxy: begins a SCRAM-SHA-256 login (RFC 5802, RFC 7677).</summary>
/// <param name="UserName">What the client gave as user name: names the access credential.</param>
/// <param name="Connection">Connection asked for.</param>
/// <param name="ClientAddress">For the record and for rate limits.</param>
public sealed record BeginNativeLogin(string UserName, string Connection, string ClientAddress);

/// <summary>Answer to <see cref="BeginNativeLogin"/>; the same shape and timing for unknown names, with a stable mock salt.</summary>
/// <param name="LoginId">One-time id, valid 60 s.</param>
/// <param name="Salt">Base64.</param>
/// <param name="Iterations">PBKDF2 iterations.</param>
/// <param name="Nonce">Server part of the nonce, made by identity, so that a proxy can't replay an exchange.</param>
public sealed record NativeLoginChallenge(string LoginId, string Salt, int Iterations, string Nonce);

/// <summary><c>POST /identity/v1/native-logins/{loginId}</c>: the client's proof. Identity checks it, not the proxy, so a proxy can't make up a login.</summary>
/// <param name="ClientFirstBare">client-first-message-bare.</param>
/// <param name="ServerFirst">server-first-message as sent.</param>
/// <param name="ClientFinalWithoutProof">client-final-message-without-proof; the proxy has checked its channel binding.</param>
/// <param name="ClientProof">Base64 of the proof.</param>
/// <param name="Session">Session id of the proxy.</param>
public sealed record CompleteNativeLogin(string ClientFirstBare, string ServerFirst, string ClientFinalWithoutProof, string ClientProof, string Session);

/// <summary>A login that succeeded; a failed one is a 401.</summary>
/// <param name="ServerSignature">Base64, for server-final-message.</param>
/// <param name="Assertion">Session assertion, compact JWS.</param>
public sealed record NativeLoginResult(string ServerSignature, string Assertion);

/// <summary><c>POST /identity/v1/credentials</c> with the person's own token.</summary>
/// <param name="Connections">Names, or <c>*</c> for all that policy allows.</param>
/// <param name="LifetimeSeconds">60 to 43,200.</param>
/// <param name="ServiceAccount">Person id of a service account that the caller owns; null for the caller's own.</param>
public sealed record CreateCredential(IReadOnlyList<string> Connections, int LifetimeSeconds, string? ServiceAccount = null);

/// <summary>A new access credential. The secret is shown once and kept only as verifier.</summary>
/// <param name="Credential">Its description.</param>
/// <param name="Secret">At least 128 random bits, ASCII.</param>
public sealed record CreatedCredential(CredentialView Credential, string Secret)
{
    /// <summary>Never prints the secret.</summary>
    public override string ToString() => $"CreatedCredential {{ {Credential.UserName} }}";
}

/// <summary>An access credential without its secret.</summary>
/// <param name="Id">Credential id.</param>
/// <param name="UserName">What a client gives as user name, e.g. <c>alice-7kq2</c>.</param>
/// <param name="Person">Person id.</param>
/// <param name="Connections">What it is good for.</param>
/// <param name="CreatedAt">Made.</param>
/// <param name="ExpiresAt">Expires.</param>
/// <param name="RevokedAt">Null while it is good.</param>
public sealed record CredentialView(
    string Id, string UserName, string Person, IReadOnlyList<string> Connections, DateTimeOffset CreatedAt, DateTimeOffset ExpiresAt, DateTimeOffset? RevokedAt);

/// <summary>A person.</summary>
/// <param name="Id">Person id, <c>per_…</c>.</param>
/// <param name="Name">Display name, usually the e-mail address.</param>
/// <param name="Enrolled">Whether a second person has admitted them as possible approver.</param>
/// <param name="Disabled">Whether they may do nothing any more.</param>
/// <param name="Principals">Principal ids linked to the person.</param>
public sealed record PersonView(string Id, string Name, bool Enrolled, bool Disabled, IReadOnlyList<string> Principals)
{
    /// <summary><c>human</c> or <c>service</c>.</summary>
    public string Kind { get; init; } = "human";
    /// <summary>Persons that are the same human, this one not included.</summary>
    public IReadOnlyList<string> Links { get; init; } = [];
    /// <summary>Owners of a service account.</summary>
    public IReadOnlyList<string> Owners { get; init; } = [];
    /// <summary>Group of the provider whose members all own the service account; empty for none.</summary>
    public string Team { get; init; } = "";
    /// <summary>Groups of the latest logins at the provider.</summary>
    public IReadOnlyList<string> Groups { get; init; } = [];
    /// <summary>Persons that look like the same human and about whom nobody has decided.</summary>
    public IReadOnlyList<string> Suspected { get; init; } = [];
    /// <summary>E-mail address of the latest login at a provider that named one; told to the approval service alone, which mails. Null where none is known.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] public string? Mail { get; init; }
}

/// <summary>
/// <c>GET /identity/v1/persons/{id}/standing</c>, by approval at decision time: everybody who counts as the same human or team as this person.
/// </summary>
/// <param name="Person">Person id.</param>
/// <param name="Name">Display name.</param>
/// <param name="Enrolled">Whether the person may decide now.</param>
/// <param name="Disabled">Whether the person was disabled.</param>
/// <param name="Groups">Groups of the latest login at the provider.</param>
/// <param name="SameAs">Person ids (linked persons, owners of the service account, service accounts owned), this one included.</param>
/// <param name="BootstrapOpen">Whether this person is the first one and nobody else is enrolled.</param>
public sealed record PersonStanding(
    string Person, string Name, bool Enrolled, bool Disabled, IReadOnlyList<string> Groups, IReadOnlyList<string> SameAs, bool BootstrapOpen);

/// <summary>One thing that may no longer be used. Sequences only grow; the head is part of the freshness beacon.</summary>
/// <param name="Sequence">Position in the feed, from 1.</param>
/// <param name="Kind">
/// <c>credential</c>, <c>person</c> or <c>session</c>; or <see cref="Compacted"/>: what stood up to this sequence is older than any session may live and is
/// no longer told. Who has not heard it ends every session.
/// </param>
/// <param name="Id">Its id; empty for <see cref="Compacted"/>.</param>
/// <param name="At">When.</param>
public sealed record Revocation(long Sequence, string Kind, string Id, DateTimeOffset At)
{
    /// <summary>Kind of what stands for everything before it.</summary>
    public const string Compacted = "compacted";
}

/// <summary>Identity's half of the freshness beacon of I8: ES256 JWS, typ <c>cs-beacon+jwt</c>.</summary>
/// <param name="RevocationHead">Sequence of the latest revocation, 0 for none.</param>
/// <param name="IssuedAt">When it was signed, Unix seconds.</param>
public sealed record IdentityBeacon([property: JsonPropertyName("revocations")] long RevocationHead, [property: JsonPropertyName("iat")] long IssuedAt);
