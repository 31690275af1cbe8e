using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Fakes.Postgres;
using Countersign.Identity.Contracts;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Verify;
using Npgsql;

namespace Countersign.EndToEnd.Tests.Support;

/// <summary>Everybody uses the one composition.</summary>
[CollectionDefinition(Name)]
public sealed class WorldCollection : ICollectionFixture<World>
{
    /// <summary>Name of the collection.</summary>
    public const string Name = "world";
}

/// <summary>A test with the composition. What an earlier test left pending is withdrawn first: a person may have five requests.</summary>
public abstract class Scenario(World world) : IAsyncLifetime
{
    /// <summary>The composition.</summary>
    protected World World { get; } = world;

    /// <inheritdoc/>
    public async ValueTask InitializeAsync()
    {
        foreach (var person in new[] { World.Alice, World.Carol, World.Alice2 })
        {
            foreach (var request in await person.GetAsync<List<RequestView>>("approval/v1/requests?filter=mine&state=pending"))
            {
                await person.PostAsync($"approval/v1/requests/{request.Id}/withdraw", new WithdrawRequest());
            }
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        World.RecorderRelay.IsDown = false;
        World.PolicyRelay.Forge = null;
        World.ApprovalRelay.Rewrite = null;
        World.ApprovalRelay.Before = World.ApprovalRelay.After = World.RecorderRelay.Before = null;
        if (TestContext.Current.TestState?.Result == TestResult.Failed)
        {
            // Whatever it left behind is not the next one's trouble.
            await World.RestartAsync();
        }
    }
}

/// <summary>
/// One composition for all tests: a real PostgreSQL, the standalone host as a process of its own, people, connections, policies. Connection
/// <c>shop</c> is an ordinary application's; behind <c>root</c> is a superuser, so that nothing but the gateway stands between an attack and the damage.
/// </summary>
public class World : IAsyncLifetime
{
    private const string AppPassword = "app-secret-f3b1";
    private readonly string _folder = $"/tmp/cs-e2e-{Guid.NewGuid():N}";
    private readonly int _httpPort = PostgresServer.FreePort();
    private PostgresServer _server = null!;
    private NpgsqlDataSource _truth = null!;

    /// <summary>Port of the gateway.</summary>
    public int GatewayPort { get; } = PostgresServer.FreePort();

    /// <summary>Address of the services.</summary>
    public Uri Address => new($"http://127.0.0.1:{_httpPort}/");

    /// <summary>The host.</summary>
    public HostProcess Host { get; private set; } = null!;

    /// <summary>The server.</summary>
    public PostgresServer Server => _server;

    /// <summary>What the proxy takes for the policy service.</summary>
    public Relay PolicyRelay { get; private set; } = null!;

    /// <summary>What the others take for the approval service.</summary>
    public Relay ApprovalRelay { get; private set; } = null!;

    /// <summary>What the proxy takes for the recorder.</summary>
    public Relay RecorderRelay { get; private set; } = null!;

    /// <summary>The host's data folder.</summary>
    public string Data => Path.Combine(_folder, "data");

    /// <summary>First person, engineer, and in the approvers' group like everybody else here: only the gateway keeps people from approving their own.</summary>
    public Person Alice { get; private set; } = null!;

    /// <summary>Enrolled second.</summary>
    public Person Bob { get; private set; } = null!;

    /// <summary>Enrolled third.</summary>
    public Person Carol { get; private set; } = null!;

    /// <summary>Never enrolled.</summary>
    public Person Dave { get; private set; } = null!;

    /// <summary>A second account of alice's, enrolled before it was linked to her.</summary>
    public Person Alice2 { get; private set; } = null!;

    /// <summary>Enrolled, and disabled by a test.</summary>
    public Person Erin { get; private set; } = null!;

    /// <summary>Whether the starter policies and those of the tests are put into force.</summary>
    protected virtual bool HasPolicies => true;

    /// <summary>A private folder that goes with the composition.</summary>
    public string Folder => _folder;

    /// <inheritdoc/>
    public async ValueTask InitializeAsync()
    {
        try
        {
            await StartAsync();
        }
        catch
        {
            // Nobody else would: what doesn't start isn't disposed.
            await DisposeAsync();
            throw;
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        if (Host is not null)
        {
            await Host.DisposeAsync();
            await PolicyRelay.DisposeAsync();
            await ApprovalRelay.DisposeAsync();
            await RecorderRelay.DisposeAsync();
        }

        if (_truth is not null)
        {
            await _truth.DisposeAsync();
        }

        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        if (System.Environment.GetEnvironmentVariable("COUNTERSIGN_KEEP") is null)
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    /// <summary>A client for the services.</summary>
    public HttpClient Http(bool cookies = false) => new(new SocketsHttpHandler { UseCookies = cookies }) { BaseAddress = Address };

    /// <summary>Calls a service with any token.</summary>
    public async Task<Answer> CallAsync(HttpMethod method, string path, string? token, object? body = null)
    {
        using var http = Http();
        using var request = new HttpRequestMessage(method, path);
        if (token is not null)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        }

        if (body is not null)
        {
            request.Content = JsonContent.Create(body, body.GetType());
        }

        using var answer = await http.SendAsync(request);
        return new Answer(answer.StatusCode, await answer.Content.ReadAsStringAsync());
    }

    /// <summary>What the database itself says, past the gateway: the first column of the first row, as text.</summary>
    public async Task<string> TruthAsync(string sql)
    {
        await using var command = _truth.CreateCommand(sql);
        return Convert.ToString(await command.ExecuteScalarAsync(), System.Globalization.CultureInfo.InvariantCulture) ?? "";
    }

    /// <summary>Rows of a table.</summary>
    public async Task<int> CountAsync(string from) => int.Parse(await TruthAsync($"select count(*) from {from}"), System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>Npgsql through the gateway.</summary>
    public async Task<NpgsqlConnection> NpgsqlAsync(Person person, string more = "", string connection = "shop")
    {
        var credential = await person.CredentialAsync();
        var open = new NpgsqlConnection($"Host=127.0.0.1;Port={GatewayPort};Username={credential.Credential.UserName};Password={credential.Secret};Database={connection};SSL Mode=Disable;Pooling=false;{more}");
        await open.OpenAsync(TestContext.Current.CancellationToken);
        return open;
    }

    /// <summary>Runs psql through the gateway over TLS that is verified in full; output and errors in one.</summary>
    public async Task<string> PsqlAsync(Person person, string input, string connection = "shop")
    {
        var credential = await person.CredentialAsync();
        return await PostgresServer.RunAsync(
            "psql", ["-X", "-A", "-t", "-v", "VERBOSITY=verbose", await ConnectionStringAsync(credential.Credential.UserName, connection)],
            new Dictionary<string, string> { ["PGPASSWORD"] = credential.Secret }, input);
    }

    /// <summary>libpq's connection string for the gateway, with TLS that is verified in full.</summary>
    public async Task<string> ConnectionStringAsync(string userName, string connection)
    {
        var authority = Path.Combine(_folder, "ca.pem");
        if (!File.Exists(authority))
        {
            using var http = Http();
            await File.WriteAllTextAsync(authority, await http.GetStringAsync("proxy/v1/ca"));
        }

        return $"host=localhost hostaddr=127.0.0.1 port={GatewayPort} user={userName} dbname={connection} sslmode=verify-full sslrootcert={authority}";
    }

    /// <summary>Waits until the proxy enforces the bundle that is in force.</summary>
    public async Task EnforcedAsync()
    {
        var version = (await Bob.GetAsync<PolicyDocumentsInForce>("policy/v1/documents")).Version;
        await Until.TrueAsync("the proxy enforces it", () => Task.FromResult(LogLines().Any(line => line.Contains($"Bundle {version} (", StringComparison.Ordinal))));
    }

    /// <summary>Waits until a request is in a state.</summary>
    public Task StateAsync(string id, RequestState state) => Until.TrueAsync($"{id} is {state}", async () => (await Bob.RequestAsync(id)).State == state);

    /// <summary>Recorded operations with this text; waits until the recorder knows one that fits.</summary>
    public Task<OperationView> RecordedAsync(string text, Func<OperationView, bool> fits) => Until.NotNullAsync($"a record of {text}", async () =>
        (await Bob.GetAsync<List<OperationView>>($"recorder/v1/operations?text={Uri.EscapeDataString(text)}")).FirstOrDefault(fits));

    /// <summary>Verifies all evidence that there is.</summary>
    public async Task VerifyAsync()
    {
        using var http = Http();
        var key = (await http.GetStringAsync("recorder/v1/key")).Trim();
        using var export = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(await ExportAsync()));
        var report = await ExportVerifier.VerifyAsync(export, new VerifyOptions { Key = key }, TestContext.Current.CancellationToken);
        Assert.True(report.Verified, string.Join('\n', report.Findings));
        Assert.True(report.Summary.Entries > 0);
    }

    /// <summary>The whole evidence.</summary>
    public async Task<string> ExportAsync() => (await Bob.CallAsync(HttpMethod.Get, "recorder/v1/export")).Body;

    /// <summary>Waits until the evidence has an audit event of an action about a subject.</summary>
    public Task AuditedAsync(string action, string subject) => Until.TrueAsync($"an audit event {action} about {subject}", async () =>
        (await ExportAsync()).Split('\n').Any(line =>
            line.Contains($"\"{action}\"", StringComparison.Ordinal) && line.Contains(subject, StringComparison.Ordinal)));

    /// <summary>Signs with the key of a service that was broken into.</summary>
    public string Sign<T>(string service, string type, T claims)
    {
        using var key = SigningKey.LoadOrCreate(Path.Combine(Data, "keys", $"{service}.key"));
        return key.Sign(type, claims);
    }

    /// <summary>A service's own token.</summary>
    /// <param name="from">App id of the service.</param>
    /// <param name="to">App id of whom it is for.</param>
    /// <param name="ahead">By how many seconds its clock differs.</param>
    public string ServiceToken(string from, string to, int ahead = 0)
    {
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds() + ahead;
        return Sign(from, TokenTypes.Service, new ServiceTokenClaims(from, to, now, now + 60));
    }

    /// <summary>Proposes a change of what is enforced as alice; bob approves; waits until the proxy enforces it.</summary>
    public async Task ChangeAsync(PolicyChangeRequest change)
    {
        var asked = (await Alice.PostAsync("policy/v1/changes", change with { Reason = "tests" })).Read<PolicyChangeResult>();
        await Bob.ApproveAsync(asked.RequestId);
        await Until.TrueAsync("the change is active", async () => (await Alice.GetAsync<PolicyChangeView>($"policy/v1/changes/{asked.RequestId}")).State == "active");
        await Until.TrueAsync("the proxy enforces it", () => Task.FromResult(LogLines().Any(line => line.Contains($"Bundle {asked.Version} (", StringComparison.Ordinal))));
    }

    /// <summary>
    /// After beacons were forged that named the next version: a proxy takes no word of less any more, so policy must come to it. Whoever forges a higher one would
    /// need to delete what the proxy has kept.
    /// </summary>
    public Task CatchUpAsync() => ChangeAsync(new PolicyChangeRequest
    {
        Documents = [new BundleDocument("caught-up", $"apiVersion: countersign/v1\nkind: Policy\nname: caught-up\ndescription: \"{Guid.NewGuid():N}\"\nrules:\n  - name: nothing\n    effect: deny\n    mode: shadow\n    when: {{writes: [\"*.ledger\"]}}\n")],
    });

    /// <summary>Version of the bundle that is in force.</summary>
    public async Task<long> VersionAsync() => (await Bob.GetAsync<PolicyDocumentsInForce>("policy/v1/documents")).Version;

    /// <summary>Kills the host with SIGKILL, starts it again, and waits until the gateway lets sessions through.</summary>
    public async Task RestartAsync()
    {
        await Host.KillAsync();
        await Host.StartAsync();
        await OpenAsync();
    }

    /// <summary>Waits until the gateway lets sessions through.</summary>
    public Task OpenAsync() => Until.TrueAsync("sessions are taken", async () =>
    {
        try
        {
            using var client = await Carol.ConnectAsync();
            return (await client.RunAsync("select 1")).Types().Contains('D', StringComparison.Ordinal);
        }
        catch (Exception error) when (error is RefusedException or EndOfStreamException or System.Net.Sockets.SocketException)
        {
            return false;
        }
    });

    /// <summary>The host's log so far.</summary>
    public IEnumerable<string> LogLines()
    {
        using var stream = new FileStream(Host.Log, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(stream);
        while (reader.ReadLine() is { } line)
        {
            yield return line;
        }
    }

    private async Task StartAsync()
    {
        Directory.CreateDirectory(_folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _server = await PostgresServer.StartAsync(new PostgresServerOptions { Scram = true, Settings = ["log_statement = all", "log_line_prefix = '%d '"] });
        await SeedAsync();
        var people = new[] { "alice", "bob", "carol", "dave", "alice2", "erin" }.Select(name => new Person(this, name, $"{name}-{Guid.NewGuid():N}")).ToArray();
        (Alice, Bob, Carol, Dave, Alice2, Erin) = (people[0], people[1], people[2], people[3], people[4], people[5]);
        PolicyRelay = new Relay(PostgresServer.FreePort(), Address);
        ApprovalRelay = new Relay(PostgresServer.FreePort(), Address);
        RecorderRelay = new Relay(PostgresServer.FreePort(), Address);
        Host = new HostProcess(_folder, Environment(people), Address);
        await Host.StartAsync();
        await BootstrapAsync(people);
        await ConfigureAsync();
    }

    private async Task SeedAsync()
    {
        await using (var first = NpgsqlDataSource.Create(Direct("postgres")))
        {
            foreach (var each in new[] { $"create role shop_app login password '{AppPassword}'", "create database shop owner shop_app", "create database prod" })
            {
                await using var command = first.CreateCommand(each);
                await command.ExecuteNonQueryAsync();
            }
        }

        _truth = NpgsqlDataSource.Create(Direct("shop"));
        await using var seed = _truth.CreateCommand(await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "seed.sql")));
        await seed.ExecuteNonQueryAsync();
    }

    private string Direct(string database) =>
        $"Host=127.0.0.1;Port={_server.Port};Username={PostgresServer.Superuser};Password={PostgresServer.Password};Database={database};SSL Mode=Disable;Application Name=truth";

    private Dictionary<string, string> Environment(Person[] people)
    {
        var environment = new Dictionary<string, string>
        {
            ["ASPNETCORE_ENVIRONMENT"] = "Development",
            ["ASPNETCORE_URLS"] = Address.AbsoluteUri,
            ["Countersign__BaseUrl"] = Address.AbsoluteUri.TrimEnd('/'),
            ["Countersign__Data"] = Data,
            ["Countersign__Proxy__PostgresPort"] = GatewayPort.ToString(System.Globalization.CultureInfo.InvariantCulture),
            ["Countersign__Proxy__Spool__SegmentBytes"] = "1048576",
            ["Countersign__Proxy__Spool__MaxBytes"] = "6291456",
            ["Countersign__Services__policy"] = PolicyRelay.Address.AbsoluteUri,
            ["Countersign__Services__approval"] = ApprovalRelay.Address.AbsoluteUri,
            ["Countersign__Services__recorder"] = RecorderRelay.Address.AbsoluteUri,
            // Tests forge what policy answers; its true beacons come by event meanwhile.
            ["Countersign__Proxy__AskEvery"] = "00:00:02",
            ["Countersign__DevIssuer__Enabled"] = "true",
            ["DOTNET_gcServer"] = "0",
        };
        for (var index = 0; index < people.Length; index++)
        {
            var prefix = $"Countersign__DevIssuer__Users__{index}__";
            environment[prefix + "Name"] = people[index].Name;
            environment[prefix + "Email"] = people[index].Email;
            environment[prefix + "Password"] = people[index].Password;
            environment[prefix + "Groups__0"] = "engineers";
        }

        return environment;
    }

    private async Task BootstrapAsync(Person[] people)
    {
        await Alice.LogInAsync();
        var token = await File.ReadAllTextAsync(Path.Combine(Data, "bootstrap-token"));
        var first = await Alice.PostAsync("identity/v1/bootstrap", new { token });
        Assert.True((int)first.Status < 300, first.ToString());
        Alice.Renew();
        await Task.WhenAll(people.Skip(1).Select(person => person.LogInAsync()));
        await EnrolAsync(Bob, Alice);
        await EnrolAsync(Carol, Bob);
        await EnrolAsync(Erin, Bob);
        await EnrolAsync(Alice2, Bob);
        Alice.Renew();
    }

    private async Task EnrolAsync(Person person, Person approver)
    {
        var asked = await Alice.PostAsync($"identity/v1/persons/{person.Id}/enrolment", new { reason = "tests" });
        var id = Holds.RequestOf(asked.Body) ?? throw new InvalidOperationException(asked.ToString());
        var digest = (await Alice.RequestAsync(id)).Digest;
        var decided = await approver.DecideAsync(id, approve: true, digest: digest);
        Assert.True(decided.Status == System.Net.HttpStatusCode.OK, decided.ToString());
        await Until.TrueAsync($"{person.Name} is enrolled", async () =>
            (await Alice.GetAsync<List<PersonView>>("identity/v1/persons")).Any(each => each.Id == person.Id && each.Enrolled));
        person.Renew();
    }

    private async Task ConfigureAsync()
    {
        using var http = Http();
        var key = (await http.GetFromJsonAsync<SealingKey>("proxy/v1/sealing-key"))!;
        Connection Target(string name, string user, string password)
        {
            var connection = new Connection
            {
                Name = name,
                Protocol = "postgres",
                Host = "127.0.0.1",
                Port = _server.Port,
                Database = "shop",
                Tls = "disable",
                Labels = new Dictionary<string, string> { ["env"] = "demo" },
            };
            return connection with { Credential = CredentialSealing.Seal(key, connection, new TargetCredential(user, password)) };
        }

        await ChangeAsync(new PolicyChangeRequest
        {
            Connections =
            [
                Target("shop", "shop_app", AppPassword), Target("shop-copy", "shop_app", AppPassword), Target("root", PostgresServer.Superuser, PostgresServer.Password),
            ],
        });
        if (!HasPolicies)
        {
            return;
        }

        var documents = Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "starter"), "*.yaml")
            .Where(file => Path.GetFileName(file) is not ("tests.yaml" or "approvers.yaml"))
            .Append(Path.Combine(AppContext.BaseDirectory, "policies.yaml"));
        await ChangeAsync(new PolicyChangeRequest { Documents = [.. documents.Select(file => new BundleDocument(Path.GetFileNameWithoutExtension(file), File.ReadAllText(file)))] });
    }
}
