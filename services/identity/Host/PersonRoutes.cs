using Countersign.Identity.Contracts;
using Countersign.Identity.Persons;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Host;

/// <summary><c>POST /identity/v1/bootstrap</c>.</summary>
/// <param name="Token">Content of the token file.</param>
public sealed record UseBootstrap(string Token)
{
    /// <summary>Never prints the token.</summary>
    public override string ToString() => nameof(UseBootstrap);
}

/// <summary><c>POST /identity/v1/persons/{id}/enrolment</c> and <c>/enable</c>.</summary>
/// <param name="Reason">For the approver.</param>
public sealed record AskChange(string Reason = "");

/// <summary><c>POST /identity/v1/persons/{id}/links</c>.</summary>
/// <param name="Person">The other person.</param>
/// <param name="Remove">True to take a link away, which is a change that a second person approves too.</param>
/// <param name="Reason">For the approver.</param>
/// <param name="Distinct">True to say that the two, who look like one human, are two.</param>
public sealed record AskLink(string Person, bool Remove = false, string Reason = "", bool Distinct = false);

/// <summary><c>POST /identity/v1/service-accounts</c>.</summary>
/// <param name="Name">Display name.</param>
/// <param name="Owners">Person ids besides the caller, who always is one.</param>
/// <param name="Reason">For the approver.</param>
/// <param name="Team">Group of the provider whose members all own it too; null for none.</param>
public sealed record AskServiceAccount(string Name, IReadOnlyList<string>? Owners = null, string Reason = "", string? Team = null);

/// <summary><c>POST /identity/v1/service-accounts/{id}/owners</c>: who owns it instead.</summary>
/// <param name="Owners">Person ids, at least one.</param>
/// <param name="Team">Group of the provider whose members all own it too; null for none.</param>
/// <param name="Reason">For the approver.</param>
public sealed record AskOwners(IReadOnlyList<string> Owners, string? Team = null, string Reason = "");

/// <summary>Persons: who is there, who is enrolled, who is the same.</summary>
internal static class PersonRoutes
{
    private const int MaxReason = 2000;
    private const int MaxOwners = 20;
    private const int MaxTeam = 200;

    public static void Map(RouteGroupBuilder group)
    {
        var own = group.MapGroup("/v1").RequireCaller(AppIds.Identity, Callers.Persons);
        own.MapPost("/bootstrap", (UseBootstrap ask, HttpContext context, PersonLifecycle lifecycle, CancellationToken cancellation)
            => lifecycle.BootstrapAsync(Person(context), (ask.Token ?? "").Trim(), cancellation));
        own.MapPost("/persons/{id}/disable", (string id, AskChange? ask, HttpContext context, PersonLifecycle lifecycle, CancellationToken cancellation)
            => lifecycle.DisableAsync(Person(context), context.GetCaller().Token, id, Reason(ask?.Reason), cancellation));
        own.MapPost("/persons/{id}/enrolment", EnrolAsync);
        own.MapDelete("/persons/{id}/enrolment", (string id, string? reason, HttpContext context, PersonLifecycle lifecycle, CancellationToken cancellation)
            => lifecycle.WithdrawEnrolmentAsync(Person(context), context.GetCaller().Token, id, Reason(reason), cancellation));
        own.MapPost("/persons/{id}/enable", EnableAsync);
        own.MapPost("/persons/{id}/links", LinkAsync);
        own.MapGet("/keys", async (HttpContext context, PersonLifecycle lifecycle, TrustedKeySet keys, CancellationToken cancellation) =>
        {
            await lifecycle.RequireEnrolledAsync(Person(context), cancellation);
            return await keys.ViewAsync(cancellation);
        });
        own.MapPost("/keys/approval", async (AskChange? ask, HttpContext context, PersonLifecycle lifecycle, TrustedKeySet keys, ControlRequests changes, CancellationToken cancellation) =>
        {
            await lifecycle.RequireEnrolledAsync(Person(context), cancellation);
            var (change, text) = await keys.ProposeAsync(cancellation);
            return Results.Accepted(value: await changes.AskAsync(Person(context), context.GetCaller().Token, change, Reason(ask?.Reason), cancellation, text));
        });
        own.MapGet("/removals", async (HttpContext context, PersonLifecycle lifecycle, RemovalReviews reviews, CancellationToken cancellation) =>
        {
            await lifecycle.RequireEnrolledAsync(Person(context), cancellation);
            return await reviews.ListAsync(cancellation);
        });
        own.MapPost("/service-accounts", AddServiceAccountAsync);
        own.MapPost("/service-accounts/{id}/owners", SetOwnersAsync);

        group.MapGet("/v1/persons", ListAsync).SignsAnswers(AppIds.Identity).RequireCaller(AppIds.Identity, Callers.Persons | Callers.Services, AppIds.Approval, AppIds.Policy, AppIds.Recorder);
        group.MapGet("/v1/persons/{id}/standing", StandingAsync).SignsAnswers(AppIds.Identity).RequireCaller(
            AppIds.Identity, Callers.Persons | Callers.Services, AppIds.Approval, AppIds.Policy, AppIds.Recorder, AppIds.Proxy);
    }

    private static async Task<IReadOnlyList<PersonView>> ListAsync(bool? enrolled, HttpContext context, PersonDirectory persons, CancellationToken cancellation)
    {
        var found = (await persons.ListAsync(cancellation)).Where(person => enrolled is not { } wanted || (person is { Enrolled: true, Disabled: false }) == wanted);
        // Addresses are for whoever sends mail, and for nobody else.
        List<PersonView> all = [.. context.GetCaller().Service == AppIds.Approval ? found : found.Select(person => person with { Mail = null })];
        if (context.GetCaller().Person is not { } caller)
        {
            return all;
        }

        // Who merely logged in sees themselves, and whom they can ask: the enrolled ones.
        var isEnrolled = all.Any(person => person.Id == caller.Person && person is { Enrolled: true, Disabled: false });
        return isEnrolled
            ? all
            : [.. all.Where(person => person.Id == caller.Person || person.Enrolled).Select(person => person.Id == caller.Person ? person : new PersonView(person.Id, person.Name, person.Enrolled, person.Disabled, []) { Kind = person.Kind })];
    }

    private static async Task<PersonStanding> StandingAsync(
        string id, HttpContext context, PersonDirectory persons, PersonLifecycle lifecycle, CancellationToken cancellation)
    {
        if (context.GetCaller().Person is { } caller)
        {
            await lifecycle.RequireEnrolledAsync(caller, cancellation, unless: id);
        }

        return await persons.StandingAsync(id, cancellation);
    }

    private static async Task<IResult> EnrolAsync(
        string id, AskChange? ask, HttpContext context, PersonDirectory persons, PersonLifecycle lifecycle, ControlRequests changes, CancellationToken cancellation)
    {
        var caller = Person(context);
        // Not even for oneself: with one enrolled person's yes, a second account of that person could else become "somebody else".
        await lifecycle.RequireEnrolledAsync(caller, cancellation);
        var person = await persons.GetAsync(id, cancellation);
        if (person.Kind != PersonKinds.Human || person.Disabled || person.Enrolled)
        {
            throw new IdentityException(409, "change-impossible", person.Enrolled ? "This person is enrolled already." : "Only a human who isn't disabled can be enrolled.");
        }

        // One human with two enrolled accounts would be two approvers.
        var everybody = await persons.AllAsync(cancellation);
        if (Suspicions.Of(id, everybody) is { Count: > 0 } alike)
        {
            throw new IdentityException(
                409, "link-undecided",
                $"{person.Name} looks like the same human as {string.Join(", ", alike.Select(other => $"{everybody[other].Name} ({other})"))}. Say first whether they are: countersign links add, or links distinct.");
        }

        return await AskAsync(context, changes, new IdentityChange(ChangeKinds.Enrol, [id], person.Name), ask?.Reason, cancellation);
    }

    private static async Task<IResult> EnableAsync(
        string id, AskChange? ask, HttpContext context, PersonDirectory persons, PersonLifecycle lifecycle, ControlRequests changes, CancellationToken cancellation)
    {
        await lifecycle.RequireEnrolledAsync(Person(context), cancellation);
        var person = await persons.GetAsync(id, cancellation);
        return person.Disabled
            ? await AskAsync(context, changes, new IdentityChange(ChangeKinds.Enable, [id], person.Name), ask?.Reason, cancellation)
            : throw new IdentityException(409, "change-impossible", "This person isn't disabled.");
    }

    private static async Task<IResult> LinkAsync(
        string id, AskLink ask, HttpContext context, PersonDirectory persons, PersonLifecycle lifecycle, ControlRequests changes, CancellationToken cancellation)
    {
        // Only saying of oneself that one is somebody else too needs no enrolled person.
        await lifecycle.RequireEnrolledAsync(Person(context), cancellation, unless: ask.Remove || ask.Distinct ? null : id);
        var one = await persons.GetAsync(id, cancellation);
        var other = await persons.GetAsync(ask.Person ?? "", cancellation);
        var linked = one.Links.Contains(other.Id) || other.Links.Contains(one.Id);
        if (one.Id == other.Id || linked != ask.Remove || one.Kind != PersonKinds.Human || other.Kind != PersonKinds.Human || (ask.Remove && ask.Distinct))
        {
            throw new IdentityException(409, "change-impossible", "Two different humans can be linked once, and unlinked when they are.");
        }

        if (ask.Distinct && !Suspicions.Of(one.Id, await persons.AllAsync(cancellation)).Contains(other.Id))
        {
            throw new IdentityException(409, "change-impossible", "Nobody takes these two for one human, or it was decided already.");
        }

        var pair = new[] { one.Id, other.Id }.Order(StringComparer.Ordinal).ToList();
        var kind = ask.Remove ? ChangeKinds.Unlink : ask.Distinct ? ChangeKinds.Distinct : ChangeKinds.Link;
        return await AskAsync(context, changes, new IdentityChange(kind, pair, ""), ask.Reason, cancellation);
    }

    private static async Task<IResult> AddServiceAccountAsync(
        AskServiceAccount ask, HttpContext context, PersonDirectory persons, ControlRequests changes, CancellationToken cancellation)
    {
        if (string.IsNullOrWhiteSpace(ask.Name) || ask.Name.Length > PersonNames.MaxLength)
        {
            throw new IdentityException(400, "service-account-malformed", $"name must have at most {PersonNames.MaxLength} characters.");
        }

        var owners = await OwnersAsync((ask.Owners ?? []).Append(Person(context).Person), ask.Team, persons, cancellation);
        var change = new IdentityChange(ChangeKinds.ServiceAccount, [Ids.Random("per_"), .. owners], PersonNames.Clean(ask.Name), ask.Team ?? "");
        return await AskAsync(context, changes, change, ask.Reason, cancellation);
    }

    private static async Task<IResult> SetOwnersAsync(
        string id, AskOwners ask, HttpContext context, PersonDirectory persons, PersonLifecycle lifecycle, ControlRequests changes, CancellationToken cancellation)
    {
        var account = await persons.GetAsync(id, cancellation);
        if (account is { Disabled: true } or { Kind: not PersonKinds.Service })
        {
            throw new IdentityException(409, "change-impossible", "Only a service account that isn't disabled has owners.");
        }

        if (!await persons.MayActForAsync(account, Person(context).Person, cancellation))
        {
            await lifecycle.RequireEnrolledAsync(Person(context), cancellation);
        }

        var owners = await OwnersAsync(ask.Owners ?? [], ask.Team, persons, cancellation);
        if (owners.SequenceEqual(account.Owners.Order(StringComparer.Ordinal), StringComparer.Ordinal) && (ask.Team ?? "") == account.Team)
        {
            throw new IdentityException(409, "change-impossible", "These are its owners already.");
        }

        return await AskAsync(context, changes, new IdentityChange(ChangeKinds.Owners, [id, .. owners], account.Name, ask.Team ?? ""), ask.Reason, cancellation);
    }

    private static async Task<IReadOnlyList<string>> OwnersAsync(IEnumerable<string> asked, string? team, PersonDirectory persons, CancellationToken cancellation)
    {
        var owners = asked.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
        if (owners.Count is 0 or > MaxOwners || team is { Length: > MaxTeam } || (team ?? "").Any(char.IsControl))
        {
            throw new IdentityException(400, "service-account-malformed", $"owners must have 1 to {MaxOwners} persons, team at most {MaxTeam} characters.");
        }

        foreach (var owner in owners)
        {
            if (await persons.GetAsync(owner, cancellation) is { Disabled: true } or { Kind: not PersonKinds.Human })
            {
                throw new IdentityException(409, "change-impossible", "Owners must be humans who aren't disabled.");
            }
        }

        return owners;
    }

    /// <summary>A reason as it is kept.</summary>
    internal static string Reason(string? reason) => reason is { Length: > MaxReason }
        ? throw new IdentityException(400, "reason-too-long", $"reason must have at most {MaxReason} characters.")
        : reason ?? "";

    private static async Task<IResult> AskAsync(
        HttpContext context, ControlRequests changes, IdentityChange change, string? reason, CancellationToken cancellation)
    {
        return Results.Accepted(value: await changes.AskAsync(Person(context), context.GetCaller().Token, change, Reason(reason), cancellation));
    }

    private static AccessTokenClaims Person(HttpContext context) => context.GetCaller().Person!;
}
