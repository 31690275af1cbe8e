using System.Security.Cryptography;
using System.Text;
using Countersign.Identity.Contracts;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Identity.Credentials;

/// <summary>Tokens of one login: an access token for one service, and what gets the next one.</summary>
/// <param name="AccessToken">Compact JWS.</param>
/// <param name="ExpiresIn">Seconds.</param>
/// <param name="RefreshToken">Opaque, good once; null where the login gives none.</param>
public sealed record IssuedTokens(string AccessToken, int ExpiresIn, string? RefreshToken)
{
    /// <summary>Never prints a token.</summary>
    public override string ToString() => $"IssuedTokens {{ {ExpiresIn} s }}";
}

/// <summary>How somebody logged in, as far as it outlives the login.</summary>
/// <param name="Principal">Principal id.</param>
/// <param name="Person">Person id.</param>
/// <param name="Acr">Assurance level.</param>
/// <param name="Amr">Methods.</param>
/// <param name="AuthenticatedAt">Unix seconds.</param>
public sealed record LoginFacts(string Principal, string Person, string? Acr, IReadOnlyList<string> Amr, long AuthenticatedAt);

/// <summary>Makes access tokens, and refresh tokens that are kept as hashes, rotate with every use and end a whole login when one is used twice.</summary>
public sealed class AccessTokens(
    IStateStore store, PersonDirectory persons, Bootstrap bootstrap, SigningKey key, AuditTrail audit, TimeProvider time)
{
    /// <summary>Life of an access token.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(15);
    /// <summary>Life of a login: then the provider is asked again.</summary>
    public static readonly TimeSpan LoginLifetime = TimeSpan.FromHours(12);

    private const string Prefix = "ref_";
    private static readonly string[] Audiences = [AppIds.Identity, AppIds.Policy, AppIds.Approval, AppIds.Recorder, AppIds.Proxy];
    private readonly Documents<RefreshRecord> _refresh = new(store, "refresh-tokens");
    private readonly Documents<LoginRecord> _logins = new(store, "logins");

    /// <summary>Whether there is such a service.</summary>
    public static bool IsAudience(string? audience) => audience is not null && Audiences.Contains(audience, StringComparer.Ordinal);

    /// <summary>Begins a login and gives its first tokens.</summary>
    public async ValueTask<IssuedTokens> BeginAsync(LoginFacts facts, string audience, CancellationToken cancellation)
    {
        var access = await AccessAsync(facts, audience, cancellation);
        var login = new LoginRecord(Ids.Random("log_"), facts, time.GetUtcNow() + LoginLifetime, Ended: false);
        await _logins.TryAddAsync(login.Id, login, cancellation);
        return access with { RefreshToken = await NextAsync(login, cancellation) };
    }

    /// <summary>Only an access token.</summary>
    /// <exception cref="IdentityException">The person is gone or disabled.</exception>
    public async ValueTask<IssuedTokens> AccessAsync(LoginFacts facts, string audience, CancellationToken cancellation)
    {
        if (!IsAudience(audience))
        {
            throw new IdentityException(400, "audience-unknown", "audience must name one service.");
        }

        var person = await persons.FindAsync(facts.Person, cancellation);
        var principal = await persons.FindPrincipalAsync(facts.Principal, cancellation);
        if (person is null || principal is null || person.Disabled)
        {
            throw new IdentityException(403, "person-disabled", "This person was disabled.");
        }

        var now = time.GetUtcNow();
        var claims = new AccessTokenClaims
        {
            Issuer = AppIds.Identity,
            Audience = audience,
            Subject = principal.Id,
            Id = Ids.Random("tok_"),
            IssuedAt = now.ToUnixTimeSeconds(),
            ExpiresAt = (now + Lifetime).ToUnixTimeSeconds(),
            Person = person.Id,
            Name = person.Name,
            Kind = person.Kind,
            Owners = person.Owners,
            Groups = principal.Groups,
            Enrolled = person.Enrolled,
            Bootstrap = person.Enrolled && await bootstrap.IsOpenForAsync(person.Id, cancellation),
            Acr = facts.Acr,
            Amr = facts.Amr,
            AuthenticatedAt = facts.AuthenticatedAt,
        };
        return new IssuedTokens(key.Sign(TokenTypes.Access, claims), (int)Lifetime.TotalSeconds, null);
    }

    /// <summary>Uses a refresh token: gives new tokens and makes this one worthless.</summary>
    /// <exception cref="IdentityException">401: unknown, expired, or used before; in the last case the whole login ends, since one of the two users is a thief.</exception>
    public async ValueTask<IssuedTokens> RefreshAsync(string refreshToken, string audience, CancellationToken cancellation)
    {
        if (!IsAudience(audience))
        {
            throw new IdentityException(400, "audience-unknown", "audience must name one service.");
        }

        var hash = Hash(refreshToken);
        var record = refreshToken.Length <= 128 ? await _refresh.FindAsync(hash, cancellation) : null;
        var login = record is null ? null : await _logins.FindAsync(record.Login, cancellation);
        if (record is null || login is null || login.Ended || login.ExpiresAt <= time.GetUtcNow())
        {
            throw Refused();
        }

        var used = await _refresh.ChangeAsync(hash, known => known is null || known.UsedAt is not null ? null : known with { UsedAt = time.GetUtcNow() }, cancellation);
        if (used is null)
        {
            await EndAsync(login.Id, cancellation);
            await audit.RecordAsync(
                "login.refresh-reused", login.Facts.Person, "", login.Id, cancellation, success: false,
                new Dictionary<string, string> { ["effect"] = "the login was ended" });
            throw Refused();
        }

        var access = await AccessAsync(login.Facts, audience, cancellation);
        return access with { RefreshToken = await NextAsync(login, cancellation) };
    }

    /// <summary>Ends all logins of a person.</summary>
    public async ValueTask EndAllAsync(string person, CancellationToken cancellation)
    {
        await foreach (var (id, login) in _logins.ListAsync(cancellation))
        {
            if (login.Facts.Person == person)
            {
                await EndAsync(id, cancellation);
            }
        }
    }

    /// <summary>Forgets what has expired.</summary>
    public async ValueTask PruneAsync(CancellationToken cancellation)
    {
        await foreach (var (key, record) in _refresh.ListAsync(cancellation))
        {
            if (record.ExpiresAt <= time.GetUtcNow())
            {
                await _refresh.DeleteAsync(key, cancellation);
            }
        }

        await foreach (var (key, login) in _logins.ListAsync(cancellation))
        {
            if (login.ExpiresAt <= time.GetUtcNow())
            {
                await _logins.DeleteAsync(key, cancellation);
            }
        }
    }

    private static IdentityException Refused() => new(401, "refresh-token-rejected", "Log in again.");

    private static string Hash(string token) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(token)));

    private async ValueTask EndAsync(string login, CancellationToken cancellation)
        => await _logins.ChangeAsync(login, known => known is null || known.Ended ? null : known with { Ended = true }, cancellation);

    private async ValueTask<string> NextAsync(LoginRecord login, CancellationToken cancellation)
    {
        var token = Prefix + Ids.Base32(52);
        await _refresh.TryAddAsync(Hash(token), new RefreshRecord(login.Id, login.ExpiresAt, UsedAt: null), cancellation);
        return token;
    }

    private sealed record RefreshRecord(string Login, DateTimeOffset ExpiresAt, DateTimeOffset? UsedAt);

    private sealed record LoginRecord(string Id, LoginFacts Facts, DateTimeOffset ExpiresAt, bool Ended);
}
