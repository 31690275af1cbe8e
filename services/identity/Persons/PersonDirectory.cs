using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Persons;

/// <summary>Principals and persons: who logged in, who is the same human, who may decide.</summary>
public sealed class PersonDirectory(IStateStore store, Bootstrap bootstrap, TimeProvider time)
{
    /// <summary>Issuer of the principals of service accounts that Countersign itself keeps.</summary>
    public const string OwnIssuer = "countersign";

    // A change is applied again within seconds or never; this many others of the same person, each approved by somebody, don't come in between.
    private const int MaxApplied = 50;

    private readonly Documents<PersonRecord> _persons = new(store, "persons");
    private readonly Documents<PrincipalRecord> _principals = new(store, "principals");
    private readonly Documents<NameOwner> _names = new(store, "person-names");

    /// <summary>Takes over what a provider says about somebody; makes principal and person on the first login. Having logged in makes nobody an approver.</summary>
    /// <exception cref="IdentityException">The person is disabled.</exception>
    public async ValueTask<SignedIn> SignInAsync(ProviderIdentity who, CancellationToken cancellation)
    {
        var id = Ids.OfPrincipal("pri_", who.Issuer, who.Subject);
        var personId = Ids.OfPrincipal("per_", who.Issuer, who.Subject);
        var person = await _persons.FindAsync(personId, cancellation) ?? await AddPersonAsync(personId, who.Name, PersonKinds.Human, [], cancellation, isVouched: who.HasVouchedName);
        if (person.Disabled)
        {
            throw new IdentityException(403, "person-disabled", "This person was disabled.");
        }

        var now = time.GetUtcNow();
        var principal = await _principals.ChangeAsync(
            id,
            known => known is null
                ? new PrincipalRecord { Id = id, Person = personId, Issuer = who.Issuer, Subject = who.Subject, Groups = who.Groups, HeldGroups = who.Groups, Mail = who.Mail, LastLoginAt = now }
                : known with { Groups = who.Groups, HeldGroups = who.HasGroups ? who.Groups : known.HeldGroups ?? known.Groups, Mail = who.Mail, LastLoginAt = now },
            cancellation);
        return new SignedIn(principal!, person);
    }

    /// <summary>One person.</summary>
    public ValueTask<PersonRecord?> FindAsync(string person, CancellationToken cancellation)
        => IsPersonId(person) ? _persons.FindAsync(person, cancellation) : ValueTask.FromResult<PersonRecord?>(null);

    /// <summary>One person, who must exist.</summary>
    public async ValueTask<PersonRecord> GetAsync(string person, CancellationToken cancellation)
        => await FindAsync(person, cancellation) ?? throw new IdentityException(404, "person-unknown", "There is no such person.");

    /// <summary>One principal.</summary>
    public ValueTask<PrincipalRecord?> FindPrincipalAsync(string principal, CancellationToken cancellation) => _principals.FindAsync(principal, cancellation);

    /// <summary>All persons as they are shown, in order of their names, with their addresses.</summary>
    public async ValueTask<IReadOnlyList<PersonView>> ListAsync(CancellationToken cancellation)
    {
        var principals = await PrincipalsAsync(cancellation);
        var stored = await AllAsync(cancellation);
        var persons = WithTeams(stored, principals);
        return
        [
            .. persons.Values.OrderBy(person => PersonNames.Key(person.Name), StringComparer.Ordinal).Select(person =>
            {
                var humans = SamePersons.Humans(person.Id, persons);
                return new PersonView(person.Id, person.Name, person.Enrolled, person.Disabled, [.. humans.SelectMany(same => principals[same]).Select(principal => principal.Id)])
                {
                    Kind = person.Kind,
                    Links = [.. humans.Where(same => same != person.Id)],
                    Owners = stored[person.Id].Owners,
                    Team = person.Team,
                    Groups = [.. principals[person.Id].SelectMany(principal => principal.Groups).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)],
                    Suspected = Suspicions.Of(person.Id, persons),
                    Mail = principals[person.Id].Where(principal => principal.Mail.Length > 0).MaxBy(principal => principal.LastLoginAt)?.Mail,
                };
            }),
        ];
    }

    /// <summary>Everybody who counts as the same human or team as this person, and whether the person may decide now.</summary>
    public async ValueTask<PersonStanding> StandingAsync(string person, CancellationToken cancellation)
    {
        var record = await GetAsync(person, cancellation);
        var principals = await PrincipalsAsync(cancellation);
        var persons = WithTeams(await AllAsync(cancellation), principals);
        var groups = new SortedSet<string>(principals[person].SelectMany(principal => principal.Groups), StringComparer.Ordinal);
        return new PersonStanding(
            record.Id, record.Name, record.Enrolled && !record.Disabled, record.Disabled, [.. groups], [.. SamePersons.Of(person, persons)],
            !record.Disabled && await bootstrap.IsOpenForAsync(person, cancellation));
    }

    /// <summary>Everybody who counts as the same human or team as this person now.</summary>
    public async ValueTask<IReadOnlyCollection<string>> SameAsync(string person, CancellationToken cancellation) =>
        SamePersons.Of(person, WithTeams(await AllAsync(cancellation), await PrincipalsAsync(cancellation)));

    /// <summary>Who counts as owner of a service account, each member of its team included: also who left out their groups at the latest login.</summary>
    public async ValueTask<IReadOnlyList<string>> OwnersAsync(PersonRecord account, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(account);
        return account.Team.Length == 0
            ? account.Owners
            : WithTeams(await AllAsync(cancellation), await PrincipalsAsync(cancellation)).GetValueOrDefault(account.Id, account).Owners;
    }

    /// <summary>Whether somebody may act for a service account: by name, or by a group that their latest login says. What is left out gives nothing.</summary>
    public async ValueTask<bool> MayActForAsync(PersonRecord account, string person, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(account);
        return account.Owners.Contains(person, StringComparer.Ordinal)
            || (account.Team.Length > 0 && await FindAsync(person, cancellation) is { Kind: PersonKinds.Human }
                && (await PrincipalsAsync(cancellation))[person].Any(principal => principal.Groups.Contains(account.Team, StringComparer.Ordinal)));
    }

    /// <summary>Takes everything from a person at once, under all of their accounts.</summary>
    /// <returns>The person first, then the accounts linked with them.</returns>
    public async ValueTask<IReadOnlyList<string>> DisableAsync(string person, CancellationToken cancellation)
    {
        await GetAsync(person, cancellation);
        string[] all = [person, .. SamePersons.Humans(person, await AllAsync(cancellation)).Where(same => same != person)];
        foreach (var each in all)
        {
            await _persons.ChangeAsync(each, known => known is null || known.Disabled ? null : known with { Disabled = true, Enrolled = false, EnrolledBy = null }, cancellation);
        }

        return all;
    }

    /// <summary>Takes the right to decide from a person at once.</summary>
    /// <returns>False where they had none.</returns>
    public async ValueTask<bool> WithdrawEnrolmentAsync(string person, CancellationToken cancellation)
    {
        await GetAsync(person, cancellation);
        return await _persons.ChangeAsync(person, known => known is null || !known.Enrolled ? null : known with { Enrolled = false, EnrolledBy = null }, cancellation) is not null;
    }

    /// <summary>Makes the person of the bootstrap token the first enrolled one. Only <see cref="Bootstrap"/> may lead here.</summary>
    public async ValueTask EnrolFirstAsync(string person, CancellationToken cancellation)
        => await _persons.ChangeAsync(
            person, known => known is null || known.Disabled || known.Enrolled ? null : known with { Enrolled = true, EnrolledBy = "bootstrap" }, cancellation);

    /// <summary>
    /// Puts a change into force that a second person approved. Doing it twice changes nothing, also where somebody has taken away in between what it gave: between this and
    /// writing down that it was done the process may end, and then it is done again.
    /// </summary>
    /// <param name="change">The change.</param>
    /// <param name="request">Approval request whose grant was verified.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <exception cref="IdentityException">It can't be applied any more, e.g. the person was disabled meanwhile.</exception>
    public async ValueTask ApplyAsync(IdentityChange change, string request, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(change);
        if (change.Kind is not ChangeKinds.ServiceAccount and not (ChangeKinds.Link or ChangeKinds.Unlink or ChangeKinds.Distinct)
            && (await GetAsync(change.Persons[0], cancellation)).Applied.Contains(request, StringComparer.Ordinal))
        {
            return;
        }

        switch (change.Kind)
        {
            case ChangeKinds.Enrol:
                var person = await GetAsync(change.Persons[0], cancellation);
                Require(person is { Disabled: false, Kind: PersonKinds.Human }, "Only a human who isn't disabled can be enrolled.");
                Require(Suspicions.Of(person.Id, await AllAsync(cancellation)).Count == 0, "Somebody looks like the same human: say first whether they are linked or two.");
                // Closed first: a crash in between must not leave the first person acting alone beside a second one.
                await bootstrap.CloseAsync(person.Id, cancellation);
                await ApplyToAsync(person.Id, request, known => known.Disabled || known.Enrolled ? known : known with { Enrolled = true, EnrolledBy = request }, cancellation);
                break;
            case ChangeKinds.Enable:
                await ApplyToAsync(change.Persons[0], request, known => known with { Disabled = false }, cancellation);
                break;
            case ChangeKinds.Link or ChangeKinds.Unlink or ChangeKinds.Distinct:
                await ApplyToAsync(change.Persons[0], request, known => Related(known, change.Persons[1], change.Kind), cancellation);
                await ApplyToAsync(change.Persons[1], request, known => Related(known, change.Persons[0], change.Kind), cancellation);
                break;
            case ChangeKinds.ServiceAccount:
                await AddServiceAccountAsync(change, cancellation);
                break;
            case ChangeKinds.Owners:
                var account = await GetAsync(change.Persons[0], cancellation);
                Require(account is { Disabled: false, Kind: PersonKinds.Service }, "Only a service account that isn't disabled has owners.");
                await ApplyToAsync(account.Id, request, known => known with { Owners = [.. change.Persons.Skip(1)], Team = change.Team ?? "" }, cancellation);
                break;
            default:
                throw new IdentityException(400, "change-unknown", "There is no such kind of change.");
        }
    }

    /// <summary>All persons by id.</summary>
    public async ValueTask<IReadOnlyDictionary<string, PersonRecord>> AllAsync(CancellationToken cancellation)
    {
        var persons = new Dictionary<string, PersonRecord>(StringComparer.Ordinal);
        await foreach (var (key, person) in _persons.ListAsync(cancellation))
        {
            persons[key] = person;
        }

        return persons;
    }

    private static bool IsPersonId(string id) => id.Length is > 4 and <= 64 && id.StartsWith("per_", StringComparison.Ordinal) && id.All(c => c == '_' || char.IsAsciiLetterOrDigit(c));

    private static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new IdentityException(409, "change-impossible", message);
        }
    }

    private async ValueTask AddServiceAccountAsync(IdentityChange change, CancellationToken cancellation)
    {
        var id = change.Persons[0];
        if (await _persons.FindAsync(id, cancellation) is null)
        {
            await AddPersonAsync(id, change.Name, PersonKinds.Service, [.. change.Persons.Skip(1)], cancellation, change.Team ?? "");
        }

        var principal = Ids.OfPrincipal("pri_", OwnIssuer, id);
        await _principals.TryAddAsync(
            principal,
            new PrincipalRecord { Id = principal, Person = id, Issuer = OwnIssuer, Subject = id, LastLoginAt = time.GetUtcNow() },
            cancellation);
    }

    private async ValueTask ApplyToAsync(string person, string request, Func<PersonRecord, PersonRecord> change, CancellationToken cancellation)
        => await _persons.ChangeAsync(
            person,
            known => known is null || known.Applied.Contains(request, StringComparer.Ordinal)
                ? null
                : change(known) with { Applied = [.. known.Applied.TakeLast(MaxApplied - 1), request] },
            cancellation);

    private static PersonRecord Related(PersonRecord known, string other, string kind) => kind == ChangeKinds.Link
        ? known with { Links = [.. known.Links.Union([other], StringComparer.Ordinal)] }
        : known with
        {
            Links = kind == ChangeKinds.Unlink ? [.. known.Links.Where(link => link != other)] : known.Links,
            // Who says that they aren't one human has decided what their names leave open.
            Distinct = [.. known.Distinct.Union([other], StringComparer.Ordinal)],
        };

    private async ValueTask<ILookup<string, PrincipalRecord>> PrincipalsAsync(CancellationToken cancellation)
    {
        var principals = new List<PrincipalRecord>();
        await foreach (var (_, principal) in _principals.ListAsync(cancellation))
        {
            principals.Add(principal);
        }

        return principals.ToLookup(principal => principal.Person, StringComparer.Ordinal);
    }

    /// <summary>The persons, with everybody in an account's team among its owners.</summary>
    private static IReadOnlyDictionary<string, PersonRecord> WithTeams(IReadOnlyDictionary<string, PersonRecord> persons, ILookup<string, PrincipalRecord> principals)
    {
        IEnumerable<string> Members(string team) => persons.Values
            .Where(person => person.Kind == PersonKinds.Human && principals[person.Id].Any(principal => (principal.HeldGroups ?? principal.Groups).Contains(team, StringComparer.Ordinal)))
            .Select(person => person.Id);
        return persons.Values.Any(person => person.Team.Length > 0)
            ? persons.ToDictionary(
                pair => pair.Key,
                pair => pair.Value.Team.Length == 0 ? pair.Value : pair.Value with { Owners = [.. pair.Value.Owners.Union(Members(pair.Value.Team), StringComparer.Ordinal)] },
                StringComparer.Ordinal)
            : persons;
    }

    private async ValueTask<PersonRecord> AddPersonAsync(
        string id, string wanted, string kind, IReadOnlyList<string> owners, CancellationToken cancellation, string team = "", bool isVouched = false)
    {
        // A second account with the same e-mail address isn't the same person, and must not look like it.
        var clean = PersonNames.Clean(wanted);
        string Marked(int length) => $"{clean} #{id.Substring(4, Math.Min(length, id.Length - 4))}";
        var name = PersonNames.CanDeceive(clean) || (PersonNames.LooksLikeAddress(clean) && !isVouched) ? Marked(4) : clean;
        for (var length = 4; !await ReserveAsync(name, id, cancellation); length++)
        {
            name = Marked(length);
        }

        var person = new PersonRecord { Id = id, Name = name, ClaimedName = clean, Kind = kind, Owners = owners, Team = team, CreatedAt = time.GetUtcNow() };
        return await _persons.TryAddAsync(id, person, cancellation) ? person : (await _persons.FindAsync(id, cancellation))!;
    }

    private async ValueTask<bool> ReserveAsync(string name, string person, CancellationToken cancellation)
        => await _names.TryAddAsync(PersonNames.Key(name), new NameOwner(person), cancellation)
            || (await _names.FindAsync(PersonNames.Key(name), cancellation))?.Person == person;

    private sealed record NameOwner(string Person);
}
