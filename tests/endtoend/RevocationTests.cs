using System.Net;
using Countersign.EndToEnd.Tests.Support;
using Countersign.Identity.Contracts;

namespace Countersign.EndToEnd.Tests;

/// <summary>What is taken away ends what still runs with it (I8).</summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed class RevocationTests(World world) : Scenario(world)
{
    [Fact]
    public async Task A_revoked_credential_ends_its_live_session_also_a_held_one_and_opens_no_other()
    {
        var credential = await World.Carol.NewCredentialAsync("shop");
        Task<RawClient> LogInAsync() => RawClient.LogInAsync(World.GatewayPort, credential.Credential.UserName, credential.Secret, "shop");
        using var idle = await LogInAsync();
        using var held = await LogInAsync();
        var request = await held.HeldAsync("delete from orders where id = 80");
        Assert.True((int)(await World.Carol.CallAsync(HttpMethod.Delete, $"identity/v1/credentials/{credential.Credential.Id}")).Status < 300);
        await EndsAsync(idle);
        await EndsAsync(held);
        await World.Bob.ApproveAsync(request);
        var refused = await Assert.ThrowsAsync<RefusedException>(LogInAsync);
        Assert.Equal("28P01", refused.Error.Field('C'));
        Assert.Equal(1, await World.CountAsync("orders where id = 80"));
    }

    [Fact]
    public async Task A_disabled_person_is_out_at_once_and_approves_nothing_more()
    {
        using var session = await World.Erin.ConnectAsync();
        Assert.Equal("SELECT 1", (await session.RunAsync("select 1")).Tags());
        using var client = await World.Alice.ConnectAsync();
        var request = await client.HeldAsync("delete from orders where id = 81");
        var token = await World.Erin.TokenAsync("approval");
        Assert.True((int)(await World.Bob.PostAsync($"identity/v1/persons/{World.Erin.Id}/disable", new { })).Status < 300);
        await EndsAsync(session);
        var answer = await World.CallAsync(HttpMethod.Post, $"approval/v1/requests/{request}/approve", token, new { digest = (await World.Bob.RequestAsync(request)).Digest });
        Assert.True(answer.Status is HttpStatusCode.Forbidden or HttpStatusCode.Unauthorized, answer.ToString());
        await Assert.ThrowsAsync<RefusedException>(() => World.Erin.ConnectAsync());
        Assert.Equal(1, await World.CountAsync("orders where id = 81"));
        await client.CancelAsync();
        await client.ReadToReadyAsync();
    }

    [Fact]
    public async Task A_credential_for_one_connection_opens_no_other_and_names_give_nothing_away()
    {
        var credential = await World.Carol.NewCredentialAsync("shop");
        (await RawClient.LogInAsync(World.GatewayPort, credential.Credential.UserName, credential.Secret, "shop")).Dispose();
        async Task<string> FailsAsync(string user, string secret, string database)
        {
            var refused = await Assert.ThrowsAsync<RefusedException>(() => RawClient.LogInAsync(World.GatewayPort, user, secret, database));
            Assert.Equal("FATAL", refused.Error.Field('S'));
            return refused.Error.Field('C') + refused.Error.Field('M').Replace(user, "X", StringComparison.Ordinal);
        }

        var wrong = await FailsAsync(credential.Credential.UserName, credential.Secret + "x", "shop");
        Assert.Equal(wrong, await FailsAsync("nobody-7kq2", credential.Secret, "shop"));
        await FailsAsync(credential.Credential.UserName, credential.Secret, "root");
        await FailsAsync(credential.Credential.UserName, credential.Secret, "no-such-connection");
        await FailsAsync("shop_app", "app-secret-f3b1", "shop");
        await FailsAsync("postgres", "only-for-tests", "root");
    }

    [Fact]
    public async Task No_secret_shows_in_what_is_logged_kept_or_exported()
    {
        var credential = await World.Alice.CredentialAsync();
        using (var client = await World.Alice.ConnectAsync("root"))
        {
            await client.HeldAsync("create role leaky password 'hunter2-in-a-statement'");
            await client.CancelAsync();
            await client.ReadToReadyAsync();
        }

        await Until.TrueAsync("it is recorded", async () => (await World.Bob.CallAsync(HttpMethod.Get, "recorder/v1/export")).Body.Contains("create role leaky", StringComparison.Ordinal));
        var export = (await World.Bob.CallAsync(HttpMethod.Get, "recorder/v1/export")).Body;
        var log = string.Join('\n', World.LogLines());
        foreach (var secret in new[] { credential.Secret, "app-secret-f3b1", "only-for-tests", "hunter2-in-a-statement", World.Bob.Password })
        {
            Assert.DoesNotContain(secret, log, StringComparison.Ordinal);
            Assert.DoesNotContain(secret, export, StringComparison.Ordinal);
            if (secret == "hunter2-in-a-statement")
            {
                continue;
            }

            foreach (var file in Directory.EnumerateFiles(World.Data, "*", SearchOption.AllDirectories).Where(file => Path.GetFileName(file) != "lock"))
            {
                Assert.False(Contains(file, secret), $"{file} holds a secret");
            }
        }
    }

    private static bool Contains(string file, string secret)
    {
        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        var bytes = new byte[stream.Length];
        stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        return bytes.AsSpan().IndexOf(System.Text.Encoding.UTF8.GetBytes(secret)) >= 0;
    }

    private static async Task EndsAsync(RawClient client)
    {
        Reply? last = null;
        while (await client.TryReadAsync() is { } reply)
        {
            Assert.NotEqual('C', reply.Type);
            last = reply;
        }

        Assert.NotNull(last);
        Assert.Equal(('E', "FATAL"), (last.Type, last.Field('S')));
    }
}
