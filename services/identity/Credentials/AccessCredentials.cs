using System.Security.Cryptography;
using System.Text;
using Countersign.Identity.Contracts;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Credentials;

/// <summary>An access credential as it is stored: never its secret.</summary>
public sealed record AccessCredential
{
    /// <summary><c>crd_…</c></summary>
    public required string Id { get; init; }
    /// <summary>User name: its key.</summary>
    public required string UserName { get; init; }
    /// <summary>Person it speaks for.</summary>
    public required string Person { get; init; }
    /// <summary>Principal it speaks for.</summary>
    public required string Principal { get; init; }
    /// <summary>Who made it: the person, or an owner of the service account.</summary>
    public required string CreatedBy { get; init; }
    /// <summary>Connections, or <c>*</c>.</summary>
    public required IReadOnlyList<string> Connections { get; init; }
    /// <summary>Assurance level of the login under which it was made.</summary>
    public string? Acr { get; init; }
    /// <summary>Authentication methods of that login.</summary>
    public IReadOnlyList<string> Amr { get; init; } = [];
    /// <summary>When the person authenticated, Unix seconds.</summary>
    public required long AuthenticatedAt { get; init; }
    /// <summary>Made.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
    /// <summary>Expires.</summary>
    public required DateTimeOffset ExpiresAt { get; init; }
    /// <summary>Revoked.</summary>
    public DateTimeOffset? RevokedAt { get; init; }
    /// <summary>Verifier of its secret.</summary>
    public required ScramVerifier Verifier { get; init; }

    /// <summary>Without the verifier.</summary>
    public CredentialView ToView() => new(Id, UserName, Person, Connections, CreatedAt, ExpiresAt, RevokedAt);

    /// <summary>Whether it is good for a connection.</summary>
    public bool IsFor(string connection) => Connections.Contains("*") || Connections.Contains(connection, StringComparer.Ordinal);

    /// <summary>Never prints the verifier.</summary>
    public override string ToString() => $"AccessCredential {{ {UserName} }}";
}

/// <summary>Short-lived secrets for native clients.</summary>
public sealed class AccessCredentials(IStateStore store, PersonDirectory persons, RevocationFeed revocations, AuditTrail audit, TimeProvider time)
{
    /// <summary>Shortest life.</summary>
    public static readonly TimeSpan MinLifetime = TimeSpan.FromSeconds(60);
    /// <summary>Longest life.</summary>
    public static readonly TimeSpan MaxLifetime = TimeSpan.FromHours(12);
    /// <summary>Credentials that one person can have at a time.</summary>
    public const int MaxPerPerson = 50;

    private const int SecretCharacters = 32;
    private static readonly TimeSpan KeepExpired = TimeSpan.FromDays(30);
    private readonly Documents<AccessCredential> _byName = new(store, "credentials");
    private readonly Documents<CredentialName> _names = new(store, "credential-names");
    private readonly Documents<CredentialName> _indexed = new(store, "credential-index");
    private volatile bool _isIndexed;

    /// <summary>Makes one for the caller, or for a service account that they own.</summary>
    /// <exception cref="IdentityException">Malformed, too many, or not the caller's account.</exception>
    public async ValueTask<CreatedCredential> CreateAsync(AccessTokenClaims caller, CreateCredential ask, CancellationToken cancellation)
    {
        var lifetime = TimeSpan.FromSeconds(ask.LifetimeSeconds);
        if (lifetime < MinLifetime || lifetime > MaxLifetime)
        {
            throw new IdentityException(400, "lifetime-out-of-range", $"lifetimeSeconds must lie between {MinLifetime.TotalSeconds} and {MaxLifetime.TotalSeconds}.");
        }

        if (ask.Connections is not { Count: > 0 and <= 100 } || ask.Connections.Any(name => string.IsNullOrEmpty(name) || name.Length > 128 || name.Any(char.IsControl)))
        {
            throw new IdentityException(400, "connections-malformed", "connections must have 1 to 100 names of at most 128 characters.");
        }

        var person = await persons.GetAsync(ask.ServiceAccount ?? caller.Person, cancellation);
        var isOwn = ask.ServiceAccount is null || ask.ServiceAccount == caller.Person;
        if (!isOwn && (person.Kind != PersonKinds.Service || !await persons.MayActForAsync(person, caller.Person, cancellation)))
        {
            throw new IdentityException(403, "not-the-owner", "Only an owner of a service account can make credentials for it.");
        }

        var owner = await persons.GetAsync(caller.Person, cancellation);
        if (person.Disabled || owner.Disabled)
        {
            throw new IdentityException(403, "person-disabled", "This person was disabled.");
        }

        var now = time.GetUtcNow();
        if ((await ListAsync(person.Id, cancellation)).Count(view => view.RevokedAt is null && view.ExpiresAt > now) >= MaxPerPerson)
        {
            throw new IdentityException(409, "too-many-credentials", $"There are {MaxPerPerson} credentials already; revoke some first.");
        }

        var secret = Ids.Base32(SecretCharacters);
        var credential = new AccessCredential
        {
            Id = Ids.Random("crd_"),
            UserName = "",
            Person = person.Id,
            Principal = isOwn ? caller.Subject : Ids.OfPrincipal("pri_", PersonDirectory.OwnIssuer, person.Id),
            CreatedBy = caller.Person,
            Connections = [.. ask.Connections.Distinct(StringComparer.Ordinal)],
            Acr = caller.Acr,
            Amr = caller.Amr,
            AuthenticatedAt = caller.AuthenticatedAt,
            CreatedAt = now,
            ExpiresAt = now + lifetime,
            Verifier = ScramVerifier.Of(secret, RandomNumberGenerator.GetBytes(ScramVerifier.SaltLength)),
        };
        for (var suffix = 4; ; suffix++)
        {
            credential = credential with { UserName = $"{ShortName(person.Name)}-{Ids.Base32(suffix)}" };

            // Before the credential, so that none is ever missing in a list. A name that is left over leads to nothing.
            await IndexAsync(credential, cancellation);
            if (await _byName.TryAddAsync(credential.UserName, credential, cancellation))
            {
                break;
            }
        }

        await _names.TryAddAsync(credential.Id, new CredentialName(credential.UserName), cancellation);
        await audit.RecordAsync(
            "credential.created", caller.Person, caller.Name, credential.Id, cancellation,
            details: new Dictionary<string, string>
            {
                ["userName"] = credential.UserName,
                ["person"] = person.Id,
                ["connections"] = string.Join(",", credential.Connections),
                ["expiresAt"] = credential.ExpiresAt.ToString("O"),
            });
        return new CreatedCredential(credential.ToView(), secret);
    }

    /// <summary>Credentials of one person, newest first. Reads theirs only: there may be a million of everybody's, kept for a month after they expired.</summary>
    public async ValueTask<IReadOnlyList<CredentialView>> ListAsync(string person, CancellationToken cancellation)
    {
        await EnsureIndexedAsync(cancellation);
        var found = new List<CredentialView>();
        await foreach (var (name, _) in Of(person).ListAsync(cancellation))
        {
            if (await _byName.FindAsync(name, cancellation) is { } credential && (credential.Person == person || credential.CreatedBy == person))
            {
                found.Add(credential.ToView());
            }
        }

        return [.. found.OrderByDescending(view => view.CreatedAt)];
    }

    /// <summary>The credential of a user name.</summary>
    public ValueTask<AccessCredential?> FindByNameAsync(string userName, CancellationToken cancellation) => _byName.FindAsync(userName, cancellation);

    /// <summary>Takes one back at once; its sessions end within seconds. Doing it twice changes nothing.</summary>
    /// <exception cref="IdentityException">There is none, or it is somebody else's and the caller isn't enrolled.</exception>
    /// <returns>What it is now, and whether it was good until then.</returns>
    public async ValueTask<(CredentialView View, bool WasGood)> RevokeAsync(AccessTokenClaims caller, string id, CancellationToken cancellation)
    {
        var name = id.Length <= 64 && id.Length > 0 ? await _names.FindAsync(id, cancellation) : null;
        var credential = name is null ? null : await _byName.FindAsync(name.UserName, cancellation);
        if (credential is null)
        {
            throw new IdentityException(404, "credential-unknown", "There is no such credential.");
        }

        // Taking access away needs one person only; but not just anybody who could log in.
        var enrolled = (await persons.GetAsync(caller.Person, cancellation)) is { Enrolled: true, Disabled: false };
        if (credential.Person != caller.Person && credential.CreatedBy != caller.Person && !enrolled)
        {
            throw new IdentityException(404, "credential-unknown", "There is no such credential.");
        }

        await RevokeAsync(credential, cancellation);
        await audit.RecordAsync("credential.revoked", caller.Person, caller.Name, credential.Id, cancellation);
        return ((await _byName.FindAsync(credential.UserName, cancellation))!.ToView(), credential.RevokedAt is null);
    }

    /// <summary>Takes back whatever a person has or made.</summary>
    public async ValueTask RevokeAllAsync(string person, CancellationToken cancellation)
    {
        await foreach (var (_, credential) in _byName.ListAsync(cancellation))
        {
            if ((credential.Person == person || credential.CreatedBy == person) && credential.ExpiresAt > time.GetUtcNow())
            {
                await RevokeAsync(credential, cancellation);
            }
        }
    }

    /// <summary>Takes back what was made for a service account by somebody who no longer owns it. Doing it twice changes nothing.</summary>
    public async ValueTask RevokeDisownedAsync(string account, CancellationToken cancellation)
    {
        var owners = await persons.OwnersAsync(await persons.GetAsync(account, cancellation), cancellation);
        await foreach (var (_, credential) in _byName.ListAsync(cancellation))
        {
            if (credential.Person == account && credential.RevokedAt is null && credential.ExpiresAt > time.GetUtcNow() && !owners.Contains(credential.CreatedBy, StringComparer.Ordinal))
            {
                await RevokeAsync(credential, cancellation);
                await audit.RecordAsync(
                    "credential.revoked", "", "", credential.Id, cancellation, details: new Dictionary<string, string> { ["person"] = account, ["reason"] = "its maker no longer owns the account" });
            }
        }
    }

    /// <summary>Forgets credentials that expired a month ago.</summary>
    public async ValueTask PruneAsync(CancellationToken cancellation)
    {
        await foreach (var (key, credential) in _byName.ListAsync(cancellation))
        {
            if (credential.ExpiresAt + KeepExpired < time.GetUtcNow())
            {
                await _names.DeleteAsync(credential.Id, cancellation);
                await _byName.DeleteAsync(key, cancellation);
                await Of(credential.Person).DeleteAsync(key, cancellation);
                await Of(credential.CreatedBy).DeleteAsync(key, cancellation);
            }
            else if (credential.ExpiresAt > time.GetUtcNow())
            {
                // A replica of a release that knew no index may have made it.
                await IndexAsync(credential, cancellation);
            }
        }
    }

    /// <summary>Local part of an address, as far as it makes a plain user name.</summary>
    internal static string ShortName(string name)
    {
        var text = new StringBuilder();
        foreach (var unit in name.Split('@')[0].ToLowerInvariant())
        {
            if (text.Length < 20 && (char.IsAsciiLetterLower(unit) || (char.IsAsciiDigit(unit) && text.Length > 0)))
            {
                text.Append(unit);
            }
        }

        return text.Length == 0 ? "user" : text.ToString();
    }

    private Documents<CredentialName> Of(string person) => new(store, "credentials-of/" + person);

    private async ValueTask IndexAsync(AccessCredential credential, CancellationToken cancellation)
    {
        var name = new CredentialName(credential.UserName);
        await Of(credential.Person).TryAddAsync(name.UserName, name, cancellation);
        if (credential.CreatedBy != credential.Person)
        {
            await Of(credential.CreatedBy).TryAddAsync(name.UserName, name, cancellation);
        }
    }

    /// <summary>Indexes what an earlier release has left, once.</summary>
    private async ValueTask EnsureIndexedAsync(CancellationToken cancellation)
    {
        const string All = "all";
        if (_isIndexed)
        {
            return;
        }

        if (await _indexed.FindAsync(All, cancellation) is null)
        {
            await foreach (var (_, credential) in _byName.ListAsync(cancellation))
            {
                await IndexAsync(credential, cancellation);
            }

            await _indexed.TryAddAsync(All, new CredentialName(All), cancellation);
        }

        _isIndexed = true;
    }

    private async ValueTask RevokeAsync(AccessCredential credential, CancellationToken cancellation)
    {
        // The feed first: a crash in between leaves a credential that looks good here but that no proxy accepts, never the reverse.
        if (credential.RevokedAt is null)
        {
            await revocations.AddAsync("credential", credential.Id, cancellation);
            await _byName.ChangeAsync(
                credential.UserName, known => known is { RevokedAt: null } ? known with { RevokedAt = time.GetUtcNow() } : null, cancellation);
        }
    }

    private sealed record CredentialName(string UserName);
}
