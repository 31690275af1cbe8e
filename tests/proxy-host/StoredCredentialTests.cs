using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;
using Countersign.Proxy.Host.ControlPlane;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Vault;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.Tests;

/// <summary>Credentials from the proxies' secret store: for exactly the target that the secret names, or not at all, and without a word of it in what is said.</summary>
[Trait("group", "unit")]
public sealed class StoredCredentialTests : IDisposable
{
    private const string Password = "hunter2-in-the-store";
    private const string Pem = "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n";
    private const string Good = $$"""{"user":"app","password":"{{Password}}","host":"db.example.com","port":"5433"}""";

    private static readonly Connection Shop = new()
    {
        Name = "shop",
        Protocol = "postgres",
        Host = "db.example.com",
        Port = 5433,
        Database = "shop",
        CredentialFrom = CredentialProviders.SecretStore,
    };

    private readonly Store _store = new();
    private readonly Lines _log = new();
    private readonly string _folder = Directory.CreateTempSubdirectory("cs-vault-").FullName;
    private readonly GroupKey _key;
    private Connection _registered = Shop;

    public StoredCredentialTests() => _key = GroupKey.LoadOrCreate(System.IO.Path.Combine(_folder, "group.key"));

    private static CancellationToken Ending => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _key.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task A_secret_is_one_text_or_several_values_and_read_anew_each_time()
    {
        _store["shop"] = One(Good);
        Assert.Equal(new TargetCredential("app", Password), await OpenAsync());
        _store["shop"] = One(Good.Replace("\"5433\"", "5433", StringComparison.Ordinal).Replace(Password, "rotated", StringComparison.Ordinal));
        Assert.Equal(new TargetCredential("app", "rotated"), await OpenAsync());
        _store["shop"] = new() { ["user"] = "app2", ["password"] = "again", ["host"] = "db.example.com", ["port"] = "5433", ["tls"] = "verify-full" };
        var access = (await Connections().OpenAsync("shop", null!, Ending))!;
        Assert.Equal(("app2", "again", "db.example.com", 5433, true), (access.Credential.User, access.Credential.Password, access.Host, access.Port, access.VerifyTls));
        Assert.DoesNotContain("again", access.ToString() + access.Credential, StringComparison.Ordinal);
        Assert.Equal(3, _store.Reads);
        Assert.Empty(_log.Written);
    }

    [Fact]
    public async Task A_connection_that_was_pointed_elsewhere_does_not_get_the_credential_of_where_it_was()
    {
        _store["shop"] = One(Good);
        foreach (var (moved, said) in new (Connection, string)[]
        {
            (Shop with { Host = "evil.example.com" }, "another host"),
            (Shop with { Host = "DB.example.com" }, "another host"),
            (Shop with { Port = 5434 }, "another port"),
            (Shop with { Tls = "disable" }, "tls"),
            (Shop with { TrustedCertificates = Pem }, "trusted certificates"),
        })
        {
            _registered = moved;
            Assert.Contains(said, await RefusedAsync(), StringComparison.Ordinal);
        }

        // Another name is another secret.
        _registered = Shop with { Name = "crm" };
        Assert.Contains("has no credential of crm", await RefusedAsync("crm"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_tls_and_with_an_authority_of_ones_own_only_where_the_secret_says_so()
    {
        _registered = Shop with { Host = "127.0.0.1", Tls = "disable" };
        _store["shop"] = One(Good.Replace("db.example.com", "127.0.0.1", StringComparison.Ordinal));
        Assert.Contains("tls", await RefusedAsync(), StringComparison.Ordinal);
        _store["shop"] = One(Good.Replace("db.example.com", "127.0.0.1", StringComparison.Ordinal).Replace("}", ",\"tls\":\"disable\"}", StringComparison.Ordinal));
        Assert.Equal("app", (await OpenAsync()).User);

        // As sha256sum says of the file.
        _registered = Shop with { TrustedCertificates = "abc" };
        _store["shop"] = One(Good.Replace("}", ",\"trust\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}", StringComparison.Ordinal));
        Assert.Equal("app", (await OpenAsync()).User);
        _registered = Shop with { TrustedCertificates = "abd" };
        Assert.Contains("trusted certificates", await RefusedAsync(), StringComparison.Ordinal);
        _registered = Shop;
        Assert.Contains("trusted certificates", await RefusedAsync(), StringComparison.Ordinal);
    }

    public static TheoryData<string, string> Malformed => new()
    {
        { "", "not a JSON object" },
        { Password, "not a JSON object" },
        { $"\"{Password}\"", "not a JSON object" },
        { $"[\"{Password}\"]", "not a JSON object" },
        { Good + "x", "not a JSON object" },
        { Good[..^1], "not a JSON object" },
        { Good.Replace("}", ",\"user\":\"root\"}", StringComparison.Ordinal), "each member once" },
        { Good.Replace("}", $",\"{Password}\":\"x\"}}", StringComparison.Ordinal), "has a member that isn't one of" },
        { Good.Replace("\"user\":\"app\",", "", StringComparison.Ordinal), "user is missing" },
        { Good.Replace("\"app\"", "\"\"", StringComparison.Ordinal), "user is missing" },
        { Good.Replace("\"app\"", "\"a\\u0000b\"", StringComparison.Ordinal), "user is not a role name" },
        { Good.Replace("\"app\"", $"\"{new string('ü', 32)}\"", StringComparison.Ordinal), "user is not a role name" },
        { Good.Replace($"\"{Password}\"", "null", StringComparison.Ordinal), "must be strings" },
        { Good.Replace($"\"{Password}\"", "1234", StringComparison.Ordinal), "must be strings" },
        { Good.Replace($"\"{Password}\"", $"{{\"a\":\"{Password}\"}}", StringComparison.Ordinal), "must be strings" },
        { Good.Replace(Password, Password + "\\u0000", StringComparison.Ordinal), "password can't be sent" },
        { Good.Replace("\"host\":\"db.example.com\",", "", StringComparison.Ordinal), "host is missing" },
        { Good.Replace(",\"port\":\"5433\"", "", StringComparison.Ordinal), "port is missing" },
        { Good.Replace("\"5433\"", "\"+5433\"", StringComparison.Ordinal), "port is not a number" },
        { Good.Replace("\"5433\"", "5.4e3", StringComparison.Ordinal), "port is not a number" },
        { Good.Replace("\"5433\"", "0", StringComparison.Ordinal), "port is not a number" },
        { Good.Replace("\"5433\"", "\"%!s(float64=5433)\"", StringComparison.Ordinal), "port is missing or too long" },
        { Good.Replace("}", ",\"tls\":\"prefer\"}", StringComparison.Ordinal), "neither verify-full nor disable" },
        { "{" + new string(' ', 64 * 1024) + Good[1..], "too large" },
    };

    [Theory]
    [MemberData(nameof(Malformed))]
    public async Task What_is_not_a_credential_is_refused_and_not_quoted(string text, string said)
    {
        _store["shop"] = One(text);
        Assert.Contains(said, await RefusedAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Values_are_as_strict_as_members()
    {
        _store["shop"] = [];
        Assert.Contains("user is missing", await RefusedAsync(), StringComparison.Ordinal);
        _store["shop"] = new() { ["password"] = Password };
        Assert.Contains("user is missing", await RefusedAsync(), StringComparison.Ordinal);
        _store["shop"] = new() { ["user"] = "app", ["password"] = Password, ["host"] = "db.example.com", ["port"] = "5433", ["note"] = "x" };
        Assert.Contains("isn't one of", await RefusedAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task No_secret_no_store_and_no_answer_are_no_session()
    {
        Assert.Contains("has no credential of shop", await RefusedAsync(), StringComparison.Ordinal);
        _store.Down = true;
        Assert.Contains("can't be read from the secret store now", await RefusedAsync(), StringComparison.Ordinal);
        using var gone = new CancellationTokenSource();
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await Connections().OpenAsync("shop", null!, gone.Token));
    }

    [Fact]
    public async Task Which_credential_counts_is_never_guessed_and_another_groups_is_not_even_read()
    {
        _store["shop"] = One(Good);
        var sealedToo = Shop with { Credential = CredentialSealing.Seal(_key.Public, Shop, new TargetCredential("app", Password)) };
        _registered = sealedToo;
        Assert.Contains("not clear", await RefusedAsync(), StringComparison.Ordinal);
        _registered = Shop with { CredentialFrom = "elsewhere" };
        Assert.Contains("not clear", await RefusedAsync(), StringComparison.Ordinal);
        _registered = Shop with { CredentialFrom = null };
        Assert.Contains("has no credential", await RefusedAsync(), StringComparison.Ordinal);
        _registered = Shop with { ProxyGroup = "eu" };
        Assert.Contains("another proxy group", (await Assert.ThrowsAsync<TargetUnavailableException>(OpenAsync)).Message, StringComparison.Ordinal);
        Assert.Equal(0, _store.Reads);
        _registered = sealedToo with { CredentialFrom = null };
        Assert.Equal("app", (await OpenAsync()).User);
        Assert.Equal(0, _store.Reads);
    }

    [Fact]
    public async Task A_file_that_others_can_read_is_no_secret_and_a_new_file_is_the_next_one()
    {
        var stored = new StoredCredentials(new FileTargetSecrets(System.IO.Path.Combine(_folder, "target-credentials")));
        async Task<string> FailsAsync() => (await Assert.ThrowsAsync<CredentialUnavailableException>(async () => await stored.ReadAsync(Shop, Ending))).Message;
        Assert.Contains("has no credential", await FailsAsync(), StringComparison.Ordinal);
        var file = System.IO.Path.Combine(_folder, "target-credentials", "shop");
        PrivateFiles.WriteAtomically(file, System.Text.Encoding.UTF8.GetBytes(Good + "\n"));
        Assert.Equal(Password, (await stored.ReadAsync(Shop, Ending)).Password);
        PrivateFiles.WriteAtomically(file, System.Text.Encoding.UTF8.GetBytes(Good.Replace(Password, "rotated", StringComparison.Ordinal)));
        Assert.Equal("rotated", (await stored.ReadAsync(Shop, Ending)).Password);
        foreach (var others in new[] { UnixFileMode.GroupRead, UnixFileMode.OtherRead, UnixFileMode.GroupWrite })
        {
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite | others);
            Assert.Contains("which nobody else can read", await FailsAsync(), StringComparison.Ordinal);
        }
    }

    private static Dictionary<string, string> One(string text) => new() { ["shop"] = text };

    private BundleConnections Connections() => new(
        new Bundles(_registered), _key, new StoredCredentials(_store), Options.Create(new ProxyOptions { Data = _folder }), _log);

    private async Task<TargetCredential> OpenAsync() => (await Connections().OpenAsync("shop", null!, Ending))!.Credential;

    /// <summary>The message of a refusal, which is in the log too, and nowhere the secret.</summary>
    private async Task<string> RefusedAsync(string name = "shop")
    {
        var refused = await Assert.ThrowsAsync<TargetUnavailableException>(async () => await Connections().OpenAsync(name, null!, Ending));
        Assert.Equal("08001", refused.Code);
        Assert.Contains(_log.Written, line => line.Contains(refused.Message, StringComparison.Ordinal));
        Assert.DoesNotContain(Password, refused + string.Join('\n', _log.Written), StringComparison.Ordinal);
        return refused.Message;
    }

    private sealed class Store : ITargetSecrets
    {
        private readonly Dictionary<string, Dictionary<string, string>> _secrets = [];

        public bool Down { get; set; }

        public int Reads { get; private set; }

        public Dictionary<string, string> this[string name]
        {
            set => _secrets[name] = value;
        }

        public ValueTask<IReadOnlyDictionary<string, string>?> GetAsync(string name, CancellationToken cancellation)
        {
            cancellation.ThrowIfCancellationRequested();
            Reads++;
            return Down ? throw new PortUnavailableException("down") : ValueTask.FromResult<IReadOnlyDictionary<string, string>?>(_secrets.GetValueOrDefault(name));
        }
    }

    private sealed class Bundles(Connection connection) : IBundleSource
    {
        public BundleInForce Current { get; } = new(null!, new Dictionary<string, Connection> { [connection.Name] = connection });

        BundleInForce? IBundleSource.Current => Current;
    }

    private sealed class Lines : ILogger<BundleConnections>
    {
        public List<string> Written { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Written.Add(formatter(state, exception) + exception);
    }
}
