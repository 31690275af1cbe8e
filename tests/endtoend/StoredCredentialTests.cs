using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Countersign.EndToEnd.Tests.Support;
using Countersign.Policy.Contracts;

namespace Countersign.EndToEnd.Tests;

/// <summary>A target's credential in the proxy's own store: a folder beside its state, where no change of what is enforced can send it elsewhere.</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "postgres")]
public sealed class StoredCredentialTests(World world) : Scenario(world)
{
    private string File => Path.Combine(World.Data, "target-credentials", "stored");

    [Fact]
    public async Task A_rotated_password_is_the_next_sessions_and_a_connection_that_is_pointed_elsewhere_gets_none()
    {
        var (first, second) = (Guid.NewGuid().ToString("N"), Guid.NewGuid().ToString("N"));
        await World.TruthAsync($"create role stored_app login password '{first}' in role shop_app");
        var stored = new Connection
        {
            Name = "stored",
            Protocol = "postgres",
            Host = "127.0.0.1",
            Port = World.Server.Port,
            Database = "shop",
            Tls = "disable",
            Labels = new Dictionary<string, string> { ["env"] = "demo" },
            CredentialFrom = CredentialProviders.SecretStore,
        };
        await World.ChangeAsync(new PolicyChangeRequest { Connections = [stored] });
        Assert.Contains("has no credential of stored", await FailsAsync(), StringComparison.Ordinal);

        Put(stored, first);
        Assert.Equal("stored_app", (await World.PsqlAsync(World.Alice, "select current_user", "stored")).Trim());

        // At the target, and then in the folder.
        using var open = await World.Alice.ConnectAsync("stored");
        await World.TruthAsync($"alter role stored_app password '{second}'");
        Assert.Contains("refused the login", await FailsAsync(), StringComparison.Ordinal);
        Put(stored, second);
        Assert.Equal("stored_app", (await World.PsqlAsync(World.Alice, "select current_user", "stored")).Trim());
        Assert.Equal("SELECT 1", (await open.RunAsync("select 1")).Tags());

        System.IO.File.SetUnixFileMode(File, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.OtherRead);
        Assert.Contains("which nobody else can read", await FailsAsync(), StringComparison.Ordinal);
        Put(stored, second);

        // Two people agree to point it elsewhere: that is a change like any other, and it harvests nothing.
        using var trap = new TcpListener(IPAddress.Loopback, 0);
        trap.Start();
        await World.ChangeAsync(new PolicyChangeRequest { Connections = [stored with { Port = ((IPEndPoint)trap.LocalEndpoint).Port }] });
        Assert.Contains("another port", await FailsAsync(), StringComparison.Ordinal);
        await World.ChangeAsync(new PolicyChangeRequest { Connections = [stored with { Host = "localhost" }] });
        Assert.Contains("another host", await FailsAsync(), StringComparison.Ordinal);
        Assert.False(trap.Pending());

        // In memory while a session begins, in that file, and nowhere else (I7).
        var export = await World.ExportAsync();
        foreach (var secret in new[] { first, second })
        {
            Assert.DoesNotContain(World.LogLines(), line => line.Contains(secret, StringComparison.Ordinal));
            Assert.DoesNotContain(secret, export, StringComparison.Ordinal);
        }

        foreach (var file in Directory.EnumerateFiles(World.Data, "*", SearchOption.AllDirectories).Where(file => file != File && Path.GetFileName(file) != "lock"))
        {
            using var reader = new StreamReader(new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete), System.Text.Encoding.Latin1);
            Assert.DoesNotContain(second, await reader.ReadToEndAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
        }

        await World.ChangeAsync(new PolicyChangeRequest { RemovedConnections = ["stored"] });
    }

    /// <summary>As an operator does: a private file that takes the old one's place.</summary>
    private void Put(Connection connection, string password)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(File)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var secret = new Dictionary<string, string>
        {
            ["user"] = "stored_app",
            ["password"] = password,
            ["host"] = connection.Host,
            ["port"] = connection.Port.ToString(CultureInfo.InvariantCulture),
            ["tls"] = "disable",
        };
        using (var file = new FileStream(File + ".new", new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
        {
            JsonSerializer.Serialize(file, secret);
        }

        System.IO.File.Move(File + ".new", File, overwrite: true);
    }

    /// <summary>What psql says where no session begins; nobody learns the address from it.</summary>
    private async Task<string> FailsAsync()
    {
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => World.PsqlAsync(World.Alice, "select 1", "stored"));
        Assert.Contains("FATAL", error.Message, StringComparison.Ordinal);
        return error.Message;
    }
}
