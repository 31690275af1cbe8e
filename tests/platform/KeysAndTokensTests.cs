using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Platform.Tests;

[Trait("group", "unit")]
public sealed class KeysAndTokensTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void A_key_is_made_once_with_mode_0600_and_found_again()
    {
        var path = _directory.File("identity.key");
        using var made = SigningKey.LoadOrCreate(path);
        using var found = SigningKey.LoadOrCreate(path);
        Assert.Equal(made.KeyId, found.KeyId);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
    }

    [Theory]
    [InlineData(UnixFileMode.GroupRead)]
    [InlineData(UnixFileMode.OtherRead)]
    [InlineData(UnixFileMode.OtherWrite)]
    public void A_key_that_others_can_read_or_write_is_not_used(UnixFileMode others)
    {
        var path = _directory.File("identity.key");
        SigningKey.LoadOrCreate(path).Dispose();
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | others);
        Assert.Throws<InvalidDataException>(() => SigningKey.LoadOrCreate(path));
    }

    [Fact]
    public void A_damaged_key_is_not_replaced()
    {
        var path = _directory.File("identity.key");
        PrivateFiles.WriteAtomically(path, "garbage"u8);
        Assert.Throws<InvalidDataException>(() => SigningKey.LoadOrCreate(path));
        Assert.Equal("garbage", File.ReadAllText(path));
    }

    [Fact]
    public async Task A_key_enrolled_later_is_seen_without_a_restart()
    {
        var keys = new FileTrustedKeys(_directory.Path);
        await Assert.ThrowsAsync<TokenRejectedException>(async () => await keys.GetAsync(AppIds.Identity, default));
        using var first = SigningKey.Create();
        FileTrustedKeys.Publish(_directory.Path, AppIds.Identity, first);
        Assert.Contains(first.KeyId, (await keys.GetAsync(AppIds.Identity, default)).ToJson(), StringComparison.Ordinal);
        using var second = SigningKey.Create();
        FileTrustedKeys.Publish(_directory.Path, AppIds.Identity, second);
        File.SetLastWriteTimeUtc(FileTrustedKeys.PathOf(_directory.Path, AppIds.Identity), DateTime.UtcNow.AddSeconds(5));
        Assert.Contains(second.KeyId, (await keys.GetAsync(AppIds.Identity, default)).ToJson(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("../identity")]
    [InlineData("/etc/passwd")]
    [InlineData("")]
    [InlineData("IDENTITY")]
    [InlineData("id\0entity")]
    [InlineData("nobody")]
    public async Task Names_that_are_no_service_have_no_keys(string issuer)
    {
        var keys = new FileTrustedKeys(_directory.Path);
        await Assert.ThrowsAsync<TokenRejectedException>(async () => await keys.GetAsync(issuer, default));
    }

    [Fact]
    public async Task A_type_without_expiry_verifies_and_one_with_it_does_not_without()
    {
        using var key = SigningKey.Create();
        var keys = new VerificationKeys([key.PublicKey]);
        var beacon = key.Sign(TokenTypes.Beacon, new { version = 1, iat = 1 });
        var claims = await keys.VerifyAsync<System.Text.Json.JsonElement>(beacon, TokenTypes.Beacon, null, null, DateTimeOffset.UtcNow, requireExpiry: false);
        Assert.Equal(1, claims.GetProperty("version").GetInt32());
        await Assert.ThrowsAsync<TokenRejectedException>(async () =>
            await keys.VerifyAsync<System.Text.Json.JsonElement>(beacon, TokenTypes.Beacon, null, null, DateTimeOffset.UtcNow));
        using var other = SigningKey.Create();
        await Assert.ThrowsAsync<TokenRejectedException>(async () => await new VerificationKeys([other.PublicKey])
            .VerifyAsync<System.Text.Json.JsonElement>(beacon, TokenTypes.Beacon, null, null, DateTimeOffset.UtcNow, requireExpiry: false));
    }

    [Theory]
    [InlineData(-50, true)]
    [InlineData(5, true)]
    [InlineData(6, false)]
    [InlineData(3600, false)]
    public async Task A_token_of_a_clock_that_is_ahead_is_refused(int ahead, bool good)
    {
        var now = DateTimeOffset.UnixEpoch.AddYears(56);
        using var key = SigningKey.Create();
        var issued = now.AddSeconds(ahead).ToUnixTimeSeconds();
        var token = key.Sign(TokenTypes.Service, new ServiceTokenClaims(AppIds.Proxy, AppIds.Approval, issued, issued + 60));
        async Task<ServiceTokenClaims> VerifyAsync() =>
            await new VerificationKeys([key.PublicKey]).VerifyAsync<ServiceTokenClaims>(token, TokenTypes.Service, AppIds.Proxy, AppIds.Approval, now);
        if (good)
        {
            Assert.Equal(issued, (await VerifyAsync()).IssuedAt);
        }
        else
        {
            Assert.Contains("clocks differ", (await Assert.ThrowsAsync<TokenRejectedException>(VerifyAsync)).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task What_a_key_signed_verifies_after_its_rotation_until_it_is_taken_out()
    {
        var signed = new List<string>();
        for (var round = 0; round < 3; round++)
        {
            var trusted = await StartAsync();
            signed.Add(trusted.Signed);
            foreach (var each in signed)
            {
                Assert.Equal("x", (await trusted.Keys.VerifyAsync<System.Text.Json.JsonElement>(each, TokenTypes.Bundle, null, null, DateTimeOffset.UtcNow, requireExpiry: false)).GetProperty("v").GetString());
            }

            Assert.Equal(round + 1, trusted.Keys.Keys.Count);

            // The documented way: the key is gone, and only its public part was noted.
            File.Delete(_directory.File("keys/policy.key"));
        }

        var history = _directory.File("keys/policy.previous.jwks.json");
        var kept = VerificationKeys.FromJson(await File.ReadAllTextAsync(history)).Keys;
        await File.WriteAllTextAsync(history, new VerificationKeys(kept.SkipLast(1)).ToJson());
        var (after, _) = await StartAsync();
        Assert.True((await Assert.ThrowsAsync<TokenRejectedException>(async () =>
            await after.VerifyAsync<System.Text.Json.JsonElement>(signed[0], TokenTypes.Bundle, null, null, DateTimeOffset.UtcNow, requireExpiry: false))).IsSignerUnknown);
        await after.VerifyAsync<System.Text.Json.JsonElement>(signed[1], TokenTypes.Bundle, null, null, DateTimeOffset.UtcNow, requireExpiry: false);
        await File.WriteAllTextAsync(history, "garbage");
        await Assert.ThrowsAsync<InvalidDataException>(StartAsync);
    }

    private async Task<(VerificationKeys Keys, string Signed)> StartAsync()
    {
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        builder.Configuration[LocalFiles.TrustSetting] = _directory.File("trust");
        builder.AddLocalFiles(_directory.Path, AppIds.Policy);
        using var host = builder.Build();
        await host.StartAsync(TestContext.Current.CancellationToken);
        var keys = await host.Services.GetRequiredService<ITrustedKeys>().GetAsync(AppIds.Policy, TestContext.Current.CancellationToken);
        var signed = host.Services.GetRequiredKeyedService<SigningKey>(AppIds.Policy).Sign(TokenTypes.Bundle, new { v = "x" });
        await host.StopAsync(TestContext.Current.CancellationToken);
        return (keys, signed);
    }

    [Fact]
    public async Task A_service_token_is_kept_while_it_is_good_and_then_renewed()
    {
        using var key = SigningKey.Create();
        var time = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(56));
        var tokens = new ServiceTokens(AppIds.Proxy, key, time);
        var first = tokens.For(AppIds.Approval);
        Assert.Equal(first, tokens.For(AppIds.Approval));
        Assert.NotEqual(first, tokens.For(AppIds.Policy));
        time.Advance(ServiceTokens.Lifetime - ServiceTokens.Renewal);
        var second = tokens.For(AppIds.Approval);
        Assert.NotEqual(first, second);
        var claims = await new VerificationKeys([key.PublicKey]).VerifyAsync<ServiceTokenClaims>(
            second, TokenTypes.Service, AppIds.Proxy, AppIds.Approval, time.GetUtcNow());
        Assert.Equal(time.GetUtcNow().ToUnixTimeSeconds() + 60, claims.ExpiresAt);
    }
}
