using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;

namespace Countersign.Approval.Host;

/// <summary>
/// Asks identity and policy how things stand now. Nothing is kept: what is asked at decision time is what counts, and only what they signed themselves.
/// </summary>
internal sealed class Directory([FromKeyedServices(AppIds.Approval)] IServiceClients clients, ITrustedKeys keys, TimeProvider clock)
{
    /// <summary>Group of all enrolled persons; policy needn't define it.</summary>
    public const string Enrolled = "enrolled";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(8);
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true };

    /// <summary>How a person stands; null where identity doesn't know them.</summary>
    /// <exception cref="PortUnavailableException">Identity can't be asked.</exception>
    public async ValueTask<PersonStanding?> StandingAsync(string person, CancellationToken cancellation)
    {
        var standing = await GetAsync<PersonStanding>(AppIds.Identity, $"v1/persons/{Uri.EscapeDataString(person)}/standing", cancellation);
        // An answer about somebody else decides nothing.
        return standing is null || standing.Person == person ? standing : throw new PortUnavailableException("identity answered for another person");
    }

    /// <summary>Those of some groups that a person is in now.</summary>
    /// <exception cref="PortUnavailableException">Policy can't be asked.</exception>
    public async ValueTask<IReadOnlyList<string>> GroupsAsync(PersonStanding standing, IEnumerable<string> groups, CancellationToken cancellation)
    {
        var member = new List<string>();
        foreach (var name in groups.Distinct(StringComparer.Ordinal))
        {
            if (name == Enrolled ? standing.Enrolled : IsMember(await GroupAsync(name, cancellation), standing.Person, standing.Name, standing.Groups))
            {
                member.Add(name);
            }
        }

        return member;
    }

    /// <summary>Everybody who can decide for some groups now: enrolled, not disabled, and a member of one of them.</summary>
    /// <exception cref="PortUnavailableException">Policy or identity can't be asked.</exception>
    public async ValueTask<IReadOnlyList<PersonView>> MembersAsync(IReadOnlyCollection<string> groups, CancellationToken cancellation)
    {
        if (groups.Count == 0)
        {
            return [];
        }

        var all = groups.Contains(Enrolled);
        var asked = new List<ApproverGroupView?>();
        foreach (var name in all ? [] : groups.Distinct(StringComparer.Ordinal))
        {
            asked.Add(await GroupAsync(name, cancellation));
        }

        // Identity leaves out all others already; what it says is looked at all the same.
        var enrolled = await GetAsync<List<PersonView>>(AppIds.Identity, "v1/persons?enrolled=true", cancellation) ?? throw new PortUnavailableException("identity knows no persons");
        return [.. enrolled.Where(person => person is { Enrolled: true, Disabled: false } && (all || asked.Any(group => IsMember(group, person.Id, person.Name, person.Groups))))];
    }

    private async ValueTask<ApproverGroupView?> GroupAsync(string name, CancellationToken cancellation)
    {
        var group = await GetAsync<ApproverGroupView>(AppIds.Policy, $"v1/approver-groups/{Uri.EscapeDataString(name)}", cancellation);
        return group is null || group.Name == name ? group : throw new PortUnavailableException("policy answered for another group");
    }

    private static bool IsMember(ApproverGroupView? group, string id, string name, IReadOnlyList<string> groups) =>
        group is not null
        && group.Persons.Any(person => person == id || string.Equals(person, name, StringComparison.OrdinalIgnoreCase))
        && (group.IdpGroup is not { Length: > 0 } narrowed || groups.Contains(narrowed, StringComparer.Ordinal));

    private async ValueTask<T?> GetAsync<T>(string appId, string path, CancellationToken cancellation)
        where T : class
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Patience);
        try
        {
            return (await clients.Create(appId).AskSignedAsync(keys, appId, AppIds.Approval, path, clock, limit.Token)).Read<T>(Json);
        }
        catch (TokenRejectedException error)
        {
            throw new PortUnavailableException($"{appId} didn't answer itself", error);
        }
        catch (Exception error) when (error is HttpRequestException or IOException or JsonException or NotSupportedException
            || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new PortUnavailableException($"{appId} can't be asked", error);
        }
    }
}
