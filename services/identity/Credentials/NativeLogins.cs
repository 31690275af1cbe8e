using System.Security.Cryptography;
using System.Text;
using Countersign.Identity.Contracts;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Identity.Credentials;

/// <summary>
/// SCRAM-SHA-256 logins that a proxy relays. Identity makes the nonce and checks the proof itself, so that neither a proxy nor who reads its memory can
/// make up a login or use one twice. An unknown user name takes the same path as a known one: a salt that stays the same, the same work, the same answer.
/// </summary>
public sealed class NativeLogins
{
    /// <summary>How long a login may take.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(60);
    /// <summary>Logins under way at a time, all together.</summary>
    public const int Capacity = 8192;
    /// <summary>Logins under way at a time from one client address.</summary>
    public const int CapacityPerAddress = 512;

    private const int MaxNameLength = 128;
    private readonly AccessCredentials _credentials;
    private readonly PersonDirectory _persons;
    private readonly SigningKey _key;
    private readonly AuditTrail _audit;
    private readonly TimeProvider _time;
    private readonly MockSecret _mockSecret;
    private readonly ILoginExchanges _exchanges;
    private readonly IdentityMetrics _metrics;
    private readonly LoginThrottle _perName;
    private readonly LoginThrottle _perAddress;
    /// <param name="credentials">Credentials.</param>
    /// <param name="persons">Persons.</param>
    /// <param name="key">Identity's key, for assertions.</param>
    /// <param name="exchanges">Where logins under way are kept.</param>
    /// <param name="mockSecret">Persistent secret from which salts of unknown names are made.</param>
    /// <param name="audit">Audit trail.</param>
    /// <param name="metrics">Counts those that succeed; the others are audited.</param>
    /// <param name="time">Clock.</param>
    public NativeLogins(
        AccessCredentials credentials, PersonDirectory persons, SigningKey key, ILoginExchanges exchanges, MockSecret mockSecret, AuditTrail audit, IdentityMetrics metrics,
        TimeProvider time)
    {
        (_credentials, _persons, _key, _exchanges, _audit, _metrics, _time, _mockSecret) = (credentials, persons, key, exchanges, audit, metrics, time, mockSecret);
        _perName = new LoginThrottle(burst: 30, TimeSpan.FromSeconds(1), capacity: 10_000, time);
        _perAddress = new LoginThrottle(burst: 60, TimeSpan.FromSeconds(1), capacity: 10_000, time);
    }

    /// <summary>Begins a login.</summary>
    /// <exception cref="IdentityException">Too many at once, or too many failures.</exception>
    public async ValueTask<NativeLoginChallenge> BeginAsync(BeginNativeLogin begin, string proxy, CancellationToken cancellation)
    {
        var userName = begin.UserName ?? "";
        var address = Address(begin.ClientAddress ?? "");
        if (userName.Length > MaxNameLength || (begin.Connection ?? "").Length > MaxNameLength || address.Length > MaxNameLength)
        {
            throw new IdentityException(400, "login-malformed", "A name is too long.");
        }

        if (!_perName.Allows(userName) || !_perAddress.Allows(address))
        {
            throw new IdentityException(429, "too-many-failures", "Too many failed logins; wait a little.");
        }

        // The mock verifier is made in any case, so that making it can't be told from the time taken.
        var mock = await MockAsync(userName, cancellation);
        var credential = IsPlain(userName) ? await _credentials.FindByNameAsync(userName, cancellation) : null;
        var verifier = credential?.Verifier ?? mock;
        var pending = new LoginExchange(
            Ids.Random("lgn_"), userName, begin.Connection ?? "", address, proxy, credential?.Id, Convert.ToBase64String(RandomNumberGenerator.GetBytes(18)),
            _time.GetUtcNow() + Lifetime);
        await _exchanges.AddAsync(pending, cancellation);
        return new NativeLoginChallenge(pending.Id, Convert.ToBase64String(verifier.Salt), verifier.Iterations, pending.Nonce);
    }

    /// <summary>Checks the proof and answers with the server's signature and a session assertion.</summary>
    /// <exception cref="IdentityException">401 with code <c>login-failed</c>; a better code only for whoever has proved to know the secret.</exception>
    public async ValueTask<NativeLoginResult> CompleteAsync(string loginId, CompleteNativeLogin complete, string proxy, CancellationToken cancellation)
    {
        var pending = await _exchanges.TakeAsync(loginId, cancellation);
        if (pending is null || pending.Proxy != proxy || string.IsNullOrEmpty(complete.Session) || complete.Session.Length > MaxNameLength)
        {
            throw new IdentityException(401, "login-failed", "The login failed.");
        }

        // Read now: what was revoked in these seconds counts. The verifier of a credential never changes.
        var mock = await MockAsync(pending.UserName, cancellation);
        var credential = IsPlain(pending.UserName) ? await _credentials.FindByNameAsync(pending.UserName, cancellation) : null;
        if (credential?.Id != pending.Credential)
        {
            credential = null;
        }

        var verifier = credential?.Verifier ?? mock;
        var message = ScramMessages.AuthMessage(
            complete.ClientFirstBare, complete.ServerFirst, complete.ClientFinalWithoutProof, pending.Nonce, verifier.Salt, verifier.Iterations);
        var proof = new byte[64];
        var isBase64 = Convert.TryFromBase64String(complete.ClientProof ?? "", proof, out var length);
        var signature = verifier.Verify(message ?? "", isBase64 ? proof.AsSpan(0, length) : []);
        if (signature is null || message is null || credential is null)
        {
            await RefuseAsync(pending, credential, "login-failed", "The login failed.", cancellation);
        }

        var now = _time.GetUtcNow();
        if (credential!.RevokedAt is not null)
        {
            await RefuseAsync(pending, credential, "credential-revoked", "This credential was revoked.", cancellation);
        }

        if (credential.ExpiresAt <= now)
        {
            await RefuseAsync(pending, credential, "credential-expired", "This credential has expired.", cancellation);
        }

        if (!credential.IsFor(pending.Connection))
        {
            await RefuseAsync(pending, credential, "connection-not-allowed", "This credential is not for this connection.", cancellation);
        }

        var person = await _persons.GetAsync(credential.Person, cancellation);
        var owners = new List<PersonRecord>();
        foreach (var owner in await _persons.OwnersAsync(person, cancellation))
        {
            owners.Add(await _persons.GetAsync(owner, cancellation));
        }

        if (person.Disabled || (person.Kind == PersonKinds.Service && owners.TrueForAll(owner => owner.Disabled)))
        {
            await RefuseAsync(pending, credential, "person-disabled", "This person was disabled.", cancellation);
        }

        // A crash may have come before those of a former owner were revoked; and who leaves a team isn't told to anybody.
        var isOwn = credential.CreatedBy == person.Id;
        if (!isOwn && !owners.Exists(owner => owner.Id == credential.CreatedBy))
        {
            await RefuseAsync(pending, credential, "credential-revoked", "Who made this credential no longer owns the account.", cancellation);
        }

        var principal = await _persons.FindPrincipalAsync(credential.Principal, cancellation);
        var assertion = new SessionAssertionClaims
        {
            Issuer = AppIds.Identity,
            Audience = "session",
            Subject = credential.Principal,
            Session = complete.Session,
            Proxy = proxy,
            Connection = pending.Connection,
            Credential = credential.Id,
            Person = person.Id,
            Name = person.Name,
            Kind = person.Kind,
            // Whoever has the secret acts as the account, owner or not by the time that somebody decides: it is theirs who made it.
            Owners = isOwn ? person.Owners : [.. person.Owners.Append(credential.CreatedBy).Distinct(StringComparer.Ordinal)],
            Groups = principal?.Groups ?? [],
            Acr = credential.Acr,
            Amr = credential.Amr,
            AuthenticatedAt = credential.AuthenticatedAt,
            IssuedAt = now.ToUnixTimeSeconds(),
            ExpiresAt = credential.ExpiresAt.ToUnixTimeSeconds(),
        };
        _metrics.LoggedIn("native", "ok");
        return new NativeLoginResult(Convert.ToBase64String(signature!), _key.Sign(TokenTypes.Session, assertion));
    }

    private async ValueTask RefuseAsync(LoginExchange pending, AccessCredential? credential, string code, string message, CancellationToken cancellation)
    {
        _perName.Failed(pending.UserName);
        _perAddress.Failed(pending.Address);
        await _audit.RecordAsync(
            "login.refused", credential?.Person ?? "", "", pending.UserName, cancellation, success: false,
            new Dictionary<string, string> { ["reason"] = code, ["address"] = pending.Address, ["connection"] = pending.Connection });
        throw new IdentityException(401, code, message);
    }

    private async ValueTask<ScramVerifier> MockAsync(string userName, CancellationToken cancellation)
    {
        var secret = await _mockSecret.GetAsync(cancellation);
        byte[] Keyed(string purpose) => HMACSHA256.HashData(secret, Encoding.UTF8.GetBytes($"{purpose}:{userName}"));
        return new ScramVerifier(Keyed("salt")[..ScramVerifier.SaltLength], ScramVerifier.DefaultIterations, Keyed("stored"), Keyed("server"));
    }

    // User names of credentials are plain: anything else can't be one, and need not be looked up.
    private static bool IsPlain(string userName) => userName.Length > 0 && userName.All(c => char.IsAsciiLetterOrDigit(c) || c == '-');

    private static string Address(string client)
        => System.Net.IPEndPoint.TryParse(client, out var endpoint) ? endpoint.Address.ToString() : client;
}
