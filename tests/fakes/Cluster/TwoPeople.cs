using System.Net.Http.Json;
using Countersign.Fakes.Postgres;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;

namespace Countersign.Fakes.Cluster;

/// <summary>Who sets a composition up through its entrance: the first person bootstraps it and proposes, the second one is enrolled and approves.</summary>
/// <param name="first">Asks.</param>
/// <param name="second">Approves.</param>
public sealed class TwoPeople(Visitor first, Visitor second)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Uses the bootstrap token as the first person; both have logged in.</summary>
    /// <param name="tokenFile">File with the token, on identity's host.</param>
    public async Task BootstrapAsync(string tokenFile)
    {
        await first.GoodAsync(HttpMethod.Post, "identity/v1/bootstrap", new { token = (await File.ReadAllTextAsync(tokenFile)).Trim() });
        first.Renew();
    }

    /// <summary>Enrols the second person.</summary>
    public async Task EnrolAsync()
    {
        var asked = await first.GoodAsync(HttpMethod.Post, $"identity/v1/persons/{second.Id}/enrolment", new { reason = "second person" });
        await first.ApproveAsync(asked.GetProperty("requestId").GetString()!);
        await UntilAsync($"{second.Name} is not enrolled", async () =>
            (await first.GoodAsync(HttpMethod.Get, "identity/v1/persons")).EnumerateArray().Any(each => each.GetProperty("id").GetString() == second.Id && each.GetProperty("enrolled").GetBoolean()));
        first.Renew();
        second.Renew();
    }

    /// <summary>Proposes a change.</summary>
    /// <returns>The request that waits for the second person.</returns>
    public async Task<string> ProposeAsync(PolicyChangeRequest change) =>
        (await first.GoodAsync(HttpMethod.Post, "policy/v1/changes", change)).GetProperty("requestId").GetString()!;

    /// <summary>Waits until an approved change is in force.</summary>
    public Task InForceAsync(string request) => UntilAsync($"{request} is not in force", async () =>
        (await first.GoodAsync(HttpMethod.Get, $"policy/v1/changes/{request}")).GetProperty("state").GetString() == "active");

    /// <summary>Proposes a change, approves it, and waits until it is in force.</summary>
    public async Task ChangeAsync(PolicyChangeRequest change)
    {
        var request = await ProposeAsync(change);
        await second.ApproveAsync(request);
        await InForceAsync(request);
    }

    /// <summary>A connection to a server of this machine, its superuser's password sealed for a proxy.</summary>
    /// <param name="proxy">Address of the proxy.</param>
    /// <param name="name">Name of the connection.</param>
    /// <param name="target">The server.</param>
    public static async Task<Connection> ConnectionAsync(Uri proxy, string name, PostgresServer target)
    {
        ArgumentNullException.ThrowIfNull(target);
        using var http = new HttpClient { BaseAddress = proxy };
        var key = (await http.GetFromJsonAsync<SealingKey>("proxy/v1/sealing-key"))!;
        var connection = new Connection { Name = name, Protocol = "postgres", Host = "127.0.0.1", Port = target.Port, Database = "postgres", Tls = "disable", Labels = new Dictionary<string, string>() };
        return connection with { Credential = CredentialSealing.Seal(key, connection, new TargetCredential(PostgresServer.Superuser, PostgresServer.Password)) };
    }

    private static async Task UntilAsync(string problem, Func<Task<bool>> holds)
    {
        for (var began = TimeProvider.System.GetTimestamp(); !await holds(); await Task.Delay(20))
        {
            if (TimeProvider.System.GetElapsedTime(began) > Patience)
            {
                throw new TimeoutException(problem);
            }
        }
    }
}
