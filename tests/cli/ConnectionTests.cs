using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;

namespace Countersign.Cli.Tests;

[Trait("group", "unit")]
public sealed class ConnectionTests : CliFixture
{
    private const string Password = "target-passw0rd";

    [Fact]
    public async Task A_target_credential_leaves_the_process_sealed_only()
    {
        await LogInAsync();
        var certificates = Path.Combine(Root, "ca.pem");
        await File.WriteAllTextAsync(certificates, "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n");

        var run = await RunAsync(
            new RunOptions { Input = Password + "\nnot this\n" }, "connections", "add", "orders", "--host", "db.example.com", "--port", "5433", "--database", "orders", "--user", "app",
            "--password-stdin", "--label", "env=prod", "--label", "team=a=b", "--trusted-certificates", certificates, "--proxy-group", "eu", "--reason", "new database");

        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.Contains("GET /proxy/v1/sealing-key?group=eu", Server.Requests);
        var body = Server.PolicyBodies.Single();
        Assert.DoesNotContain(Password, body.GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain(Password, run.Output, StringComparison.Ordinal);
        var connection = body.GetProperty("connections")[0].Deserialize<Connection>(JsonSerializerOptions.Web)!;
        Assert.Equal(("orders", "db.example.com", 5433, "verify-full", "eu"), (connection.Name, connection.Host, connection.Port, connection.Tls, connection.ProxyGroup));
        Assert.Equal("a=b", connection.Labels["team"]);
        var opened = CredentialSealing.Open(Server.SealingKey, connection);
        Assert.Equal(("app", Password), (opened.User, opened.Password));
        Assert.Throws<CryptographicException>(() => CredentialSealing.Open(Server.SealingKey, connection with { Host = "evil.example.com" }));
    }

    [Fact]
    public async Task A_role_without_a_password_is_said_to_have_none()
    {
        await LogInAsync();

        var run = await RunAsync("connections", "add", "demo", "--host", "127.0.0.1", "--database", "demo", "--user", "app", "--tls", "disable", "--no-password");

        Assert.Equal(0, run.ExitCode);
        var connection = Server.PolicyBodies.Single().GetProperty("connections")[0].Deserialize<Connection>(JsonSerializerOptions.Web)!;
        Assert.Equal(5432, connection.Port);
        Assert.Null(CredentialSealing.Open(Server.SealingKey, connection).Password);
    }

    [Theory]
    [InlineData("--label", "x", "--no-password")]
    [InlineData("--label", "=x", "--no-password")]
    [InlineData("--label", "a=1", "--label", "a=2", "--no-password")]
    [InlineData("--tls", "prefer", "--no-password")]
    [InlineData("--port", "0", "--no-password")]
    [InlineData("--port", "x", "--no-password")]
    [InlineData("--trusted-certificates", "/dev/null", "--no-password")]
    [InlineData("--password-stdin")]
    [InlineData("--password-stdin", "--no-password")]
    [InlineData("--credential-store")]
    [InlineData]
    public async Task What_is_wrong_is_said_before_anything_is_sent(params string[] rest)
    {
        await LogInAsync();

        var run = await RunAsync(["connections", "add", "demo", "--host", "127.0.0.1", "--database", "demo", "--user", "app", .. rest]);

        Assert.Equal(2, run.ExitCode);
        Assert.Empty(Server.PolicyBodies);
    }

    [Fact]
    public async Task A_credential_in_the_store_is_not_asked_for_and_what_must_stand_there_is_said()
    {
        await LogInAsync();
        var certificates = Path.Combine(Root, "ca.pem");
        await File.WriteAllTextAsync(certificates, "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n");

        var run = await RunAsync(
            new RunOptions { Input = Password + "\n" }, "connections", "add", "orders", "--host", "db.example.com", "--database", "orders", "--credential-store", "--trusted-certificates", certificates);

        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.DoesNotContain(Server.Requests, request => request.Contains("sealing-key", StringComparison.Ordinal));
        var body = Server.PolicyBodies.Single();
        Assert.DoesNotContain(Password, body.GetRawText(), StringComparison.Ordinal);
        var connection = body.GetProperty("connections")[0].Deserialize<Connection>(JsonSerializerOptions.Web)!;
        Assert.Equal((null, CredentialProviders.SecretStore), (connection.Credential, connection.CredentialFrom));
        var trust = Convert.ToHexStringLower(SHA256.HashData(await File.ReadAllBytesAsync(certificates)));
        Assert.EndsWith($$"""{"user":"ROLE","password":"PASSWORD","host":"db.example.com","port":"5432","trust":"{{trust}}"}""" + "\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("secret store for 'orders'", run.Output, StringComparison.Ordinal);

        var loopback = await RunAsync("connections", "add", "demo", "--host", "127.0.0.1", "--database", "demo", "--tls", "disable", "--credential-store");
        Assert.EndsWith("""{"user":"ROLE","password":"PASSWORD","host":"127.0.0.1","port":"5432","tls":"disable"}""" + "\n", loopback.Output, StringComparison.Ordinal);
        Assert.Equal("apr_change", (await RunAsync("connections", "add", "demo", "--host", "127.0.0.1", "--database", "demo", "--credential-store", "-o", "json")).Json.GetProperty("requestId").GetString());
    }

    [Fact]
    public async Task Without_a_store_a_role_is_needed()
    {
        await LogInAsync();
        var run = await RunAsync("connections", "add", "demo", "--host", "127.0.0.1", "--database", "demo", "--no-password");
        Assert.Equal(2, run.ExitCode);
        Assert.Contains("--credential-store", run.Error, StringComparison.Ordinal);
        Assert.Empty(Server.PolicyBodies);
    }

    [Fact]
    public async Task A_key_that_is_none_sends_nothing()
    {
        await LogInAsync();
        Server.Overrides["/sealing-key"] = context => Microsoft.AspNetCore.Http.HttpResponseJsonExtensions.WriteAsJsonAsync(context.Response, new SealingKey("0", CredentialSealing.Suite, "AAAA"));

        var run = await RunAsync("connections", "add", "demo", "--host", "127.0.0.1", "--database", "demo", "--user", "app", "--no-password");

        Assert.Equal(4, run.ExitCode);
        Assert.Empty(Server.PolicyBodies);
    }

    [Fact]
    public async Task Connections_are_listed_and_removed()
    {
        await LogInAsync();

        var list = await RunAsync("connections");
        var remove = await RunAsync("connections", "remove", "shop", "--reason", "gone", "-o", "json");

        Assert.Equal("NAME  PROTOCOL  ADDRESS              DATABASE  TLS          LABELS\nshop  postgres  db.example.com:5432  shop      verify-full  env=prod\n", list.Output);
        Assert.Equal("apr_change", remove.Json.GetProperty("requestId").GetString());
        Assert.Equal("""["shop"]""", Server.PolicyBodies.Single().GetProperty("removedConnections").GetRawText());
    }
}
