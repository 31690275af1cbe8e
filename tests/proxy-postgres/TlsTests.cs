using System.Globalization;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Countersign.Fakes.Postgres;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Postgres.Ports;
using Npgsql;

namespace Countersign.Proxy.Postgres.Tests;

[Trait("group", "postgres")]
public sealed class TlsTests(ServerFixture server)
{
    [Fact]
    public async Task Psql_and_npgsql_come_by_tls_with_channel_binding()
    {
        var (authority, leaf) = TestCertificates.Make("localhost");
        await using var gateway = new Gateway(server.Port, new PostgresOptions { Certificate = leaf });
        var root = System.IO.Path.GetTempFileName();
        await File.WriteAllTextAsync(root, authority.ExportCertificatePem());
        var output = await PostgresServer.RunAsync(
            "psql",
            ["-X", "-A", "-t", "-c", "select 'tls'", $"host=localhost hostaddr=127.0.0.1 port={gateway.Port} user={Gateway.User} dbname=demo sslmode=verify-full sslrootcert={root} channel_binding=require gssencmode=disable"],
            new Dictionary<string, string> { ["PGPASSWORD"] = Gateway.Secret });
        Assert.Equal("tls\n", output);
        await using var connection = new NpgsqlConnection(
            $"Host=localhost;Port={gateway.Port.ToString(CultureInfo.InvariantCulture)};Username={Gateway.User};Password={Gateway.Secret};Database=demo;SSL Mode=VerifyFull;Root Certificate={root};Channel Binding=Require;Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand("select repeat('x', 100000)", connection);
        Assert.Equal(100000, ((string)(await command.ExecuteScalarAsync())!).Length);
        File.Delete(root);
    }

    [Fact]
    public async Task Direct_tls_needs_its_alpn()
    {
        var (authority, leaf) = TestCertificates.Make("localhost");
        await using var gateway = new Gateway(server.Port, new PostgresOptions { Certificate = leaf });
        var trust = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        trust.CustomTrustStore.Add(authority);
        foreach (var alpn in new[] { true, false })
        {
            using var client = await RawClient.DialAsync(gateway.Port);
            await using var stream = new SslStream(new System.Net.Sockets.NetworkStream(client.Socket), false);
            await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
            {
                TargetHost = "localhost",
                CertificateChainPolicy = trust,
                EnabledSslProtocols = SslProtocols.Tls13,
                ApplicationProtocols = alpn ? [new SslApplicationProtocol("postgresql")] : null,
            });
            await stream.WriteAsync(RawClient.Startup(3 << 16, "user", Gateway.User, "database", "demo"));
            var type = new byte[1];
            var read = 0;
            try
            {
                read = await stream.ReadAsync(type);
            }
            catch (IOException)
            {
                // Closed.
            }

            Assert.Equal(alpn, read == 1 && type[0] == (byte)'R');
        }
    }

    [Fact]
    public async Task Data_behind_an_ssl_request_closes_the_connection()
    {
        var (_, leaf) = TestCertificates.Make("localhost");
        await using var gateway = new Gateway(server.Port, new PostgresOptions { Certificate = leaf });
        using var client = await RawClient.DialAsync(gateway.Port);
        await client.SendAsync((byte[])[0, 0, 0, 8, 4, 210, 22, 47, .. RawClient.Startup(3 << 16, "user", "x")]);
        var reply = await client.TryReadAsync();
        Assert.True(reply is null || reply.Type == 'E');
    }

    [Fact]
    public async Task Without_a_certificate_tls_is_declined()
    {
        await using var gateway = new Gateway(server.Port);
        using var client = await RawClient.DialAsync(gateway.Port);
        await client.SendAsync((byte[])[0, 0, 0, 8, 4, 210, 22, 47]);
        var answer = new byte[1];
        await client.Socket.ReceiveAsync(answer);
        Assert.Equal((byte)'N', answer[0]);
        await client.SendAsync((byte[])[0, 0, 0, 8, 4, 210, 22, 48]);
        await client.Socket.ReceiveAsync(answer);
        Assert.Equal((byte)'N', answer[0]);
        await client.SendAsync(RawClient.Startup(3 << 16, "user", Gateway.User, "database", "demo"));
        await client.AuthenticateAsync(Gateway.Secret);
    }

    [Fact]
    public async Task Targets_are_reached_by_verified_tls_and_scram()
    {
        await using var target = await PostgresServer.StartAsync(new PostgresServerOptions { Tls = true, Scram = true });
        var access = Access(target);
        await using (var gateway = new Gateway(target.Port, target: access))
        {
            Assert.Equal("t\n", await gateway.PsqlAsync("select ssl from pg_stat_ssl where pid = pg_backend_pid();\n"));
        }

        var (stranger, _) = TestCertificates.Make("localhost");
        Assert.Contains("not trusted", await FailAsync(target, access with { TrustedCertificates = stranger.ExportCertificatePem() }), StringComparison.Ordinal);
        Assert.Contains("refused the login (28P01)", await FailAsync(target, access with { Credential = new TargetCredential("postgres", "wrong") }), StringComparison.Ordinal);
        Assert.Contains("not a loopback address", await FailAsync(target, access with { Host = "192.0.2.1", VerifyTls = false }), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("password", "cleartext")]
    [InlineData("md5", "")]
    public async Task Targets_that_ask_for_a_readable_password_are_refused(string method, string word)
    {
        await using var target = await PostgresServer.StartAsync(new PostgresServerOptions { HbaMethod = method, Settings = ["password_encryption = md5"] });
        await PostgresServer.RunAsync(
            "psql", ["-X", "-h", System.IO.Path.GetDirectoryName(target.LogFile)!, "-p", target.Port.ToString(CultureInfo.InvariantCulture), "-U", "postgres", "-c", "alter role postgres password 'only-for-tests'"]);
        var access = new TargetAccess
        {
            Connection = "demo",
            Host = "127.0.0.1",
            Port = target.Port,
            Database = "postgres",
            VerifyTls = false,
            Credential = new TargetCredential("postgres", PostgresServer.Password),
        };
        Assert.Contains($"asked for a {(word.Length > 0 ? word : "MD5")} password", await FailAsync(target, access), StringComparison.Ordinal);
    }

    private static TargetAccess Access(PostgresServer target) => new()
    {
        Connection = "demo",
        Host = "localhost",
        Port = target.Port,
        Database = "postgres",
        VerifyTls = true,
        TrustedCertificates = target.AuthorityPem,
        Credential = new TargetCredential("postgres", PostgresServer.Password),
    };

    private static async Task<string> FailAsync(PostgresServer target, TargetAccess access)
    {
        await using var gateway = new Gateway(target.Port, target: access);
        return (await Assert.ThrowsAsync<InvalidOperationException>(() => RawClient.LogInAsync(gateway.Port))).Message;
    }
}
