using Countersign.Identity.Federation;
using Countersign.Identity.Tests.Support;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Identity.Tests;

/// <summary>What is accepted from a provider and what is not, against an issuer that misbehaves on request.</summary>
[Trait("group", "unit")]
public sealed class IdTokenTests : IAsyncLifetime
{
    private const string Client = "countersign-cli";
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UtcNow);
    private readonly ProviderOptions _options = new();
    private TinyIssuer _issuer = null!;
    private ProviderMetadata _metadata = null!;
    private IdTokens _tokens = null!;

    public async ValueTask InitializeAsync()
    {
        _issuer = await TinyIssuer.StartAsync();
        _metadata = new ProviderMetadata(_issuer.Issuer, ProviderMetadata.CreateClient(), _time);
        _tokens = new IdTokens(_options, _metadata, _time);
    }

    public async ValueTask DisposeAsync()
    {
        _metadata.Dispose();
        await _issuer.DisposeAsync();
    }

    [Theory]
    [InlineData("RS256")]
    [InlineData("PS256")]
    [InlineData("RS384")]
    public async Task A_good_one_is_taken_over(string algorithm)
    {
        var claims = _issuer.Claims();
        claims["nonce"] = "n";
        claims["acr"] = "phr";
        claims["amr"] = new[] { "pwd", "otp" };
        claims["auth_time"] = TinyIssuer.Now - 60;
        var who = await _tokens.VerifyAsync(_issuer.Sign(claims, algorithm), Client, "n", default);
        Assert.Equal((_issuer.Issuer, "subject-1", "eve@example.test", "phr"), (who.Issuer, who.Subject, who.Name, who.Acr));
        Assert.Equal(["dba", "oncall"], who.Groups);
        Assert.Equal(["pwd", "otp"], who.Amr);
        Assert.InRange(who.AuthenticatedAt.ToUnixTimeSeconds(), TinyIssuer.Now - 90, TinyIssuer.Now - 59);
    }

    [Theory]
    [InlineData(false, "eve", false)]
    [InlineData("false", "eve", false)]
    [InlineData(true, "bob@example.test", true)]
    [InlineData("true", "bob@example.test", true)]
    [InlineData(1, "bob@example.test", false)]
    [InlineData(null, "bob@example.test", false)]
    public async Task An_address_that_is_not_verified_names_nobody(object? verified, string name, bool vouched)
    {
        var claims = _issuer.Claims();
        claims["email"] = "bob@example.test";
        claims["preferred_username"] = "eve";
        if (verified is not null)
        {
            claims["email_verified"] = verified;
        }

        var who = await _tokens.VerifyAsync(_issuer.Sign(claims), Client, null, default);
        Assert.Equal((name, vouched), (who.Name, who.HasVouchedName));
        Assert.Equal(name.Contains('@', StringComparison.Ordinal) ? name : "", who.Mail);

        // What people choose for themselves may look like an address; only who runs the provider can know better.
        claims["email_verified"] = false;
        claims["preferred_username"] = "carol@example.test";
        Assert.False((await _tokens.VerifyAsync(_issuer.Sign(claims), Client, null, default)).HasVouchedName);
        _options.VouchedNameClaims.Add("preferred_username");
        who = await _tokens.VerifyAsync(_issuer.Sign(claims), Client, null, default);
        Assert.Equal(("carol@example.test", true), (who.Name, who.HasVouchedName));
    }

    public static TheoryData<string> BadTokens => [.. Bad.Keys];

    private static readonly Dictionary<string, Func<TinyIssuer, string>> Bad = new()
    {
        ["other audience"] = issuer => issuer.Sign(issuer.Claims("somebody-else")),
        ["no audience"] = issuer => issuer.Sign(Without(issuer.Claims(), "aud")),
        ["two audiences, no party"] = issuer => issuer.Sign(With(issuer.Claims(), "aud", new[] { Client, "other" })),
        ["another party"] = issuer => issuer.Sign(With(issuer.Claims(), "azp", "other")),
        ["other issuer"] = issuer => issuer.Sign(With(issuer.Claims(), "iss", "https://evil.example")),
        ["issuer with a slash"] = issuer => issuer.Sign(With(issuer.Claims(), "iss", issuer.Issuer + "/")),
        ["no issuer"] = issuer => issuer.Sign(Without(issuer.Claims(), "iss")),
        ["expired"] = issuer => issuer.Sign(With(issuer.Claims(), "exp", TinyIssuer.Now - 120)),
        ["no expiry"] = issuer => issuer.Sign(Without(issuer.Claims(), "exp")),
        ["not yet"] = issuer => issuer.Sign(With(issuer.Claims(), "nbf", TinyIssuer.Now + 120)),
        ["from the future"] = issuer => issuer.Sign(With(issuer.Claims(), "iat", TinyIssuer.Now + 120)),
        ["no issue time"] = issuer => issuer.Sign(Without(issuer.Claims(), "iat")),
        ["no subject"] = issuer => issuer.Sign(Without(issuer.Claims(), "sub")),
        ["numeric subject"] = issuer => issuer.Sign(With(issuer.Claims(), "sub", 1)),
        ["alg none"] = issuer => issuer.Sign(issuer.Claims(), "none"),
        ["alg nOnE"] = issuer => issuer.Sign(issuer.Claims(), "nOnE"),
        ["hmac with the public key"] = issuer => issuer.Sign(issuer.Claims(), "HS256"),
        ["unknown key"] = issuer => issuer.Sign(issuer.Claims(), keyId: "other"),
        ["key in the header"] = issuer => Own(issuer),
        ["changed"] = issuer => issuer.Sign(issuer.Claims()) is var token ? token[..^6] + "AAAAAA" : "",
        ["other payload"] = issuer => Swapped(issuer),
        ["no nonce"] = issuer => issuer.Sign(Without(issuer.Claims(), "nonce")),
        ["other nonce"] = issuer => issuer.Sign(With(issuer.Claims(), "nonce", "other")),
        ["empty"] = _ => "",
        ["garbage"] = _ => "a.b.c",
        ["huge"] = issuer => issuer.Sign(With(issuer.Claims(), "x", new string('x', 70_000))),
        ["too many groups"] = issuer => issuer.Sign(With(issuer.Claims(), "groups", Enumerable.Range(0, 1001).Select(n => $"g{n}"))),
    };

    [Theory]
    [MemberData(nameof(BadTokens))]
    public async Task A_bad_one_is_rejected(string name)
    {
        var good = With(_issuer.Claims(), "nonce", "n");
        await _tokens.VerifyAsync(_issuer.Sign(good), Client, "n", default);
        var nonced = name.EndsWith("nonce", StringComparison.Ordinal) ? "n" : null;
        var error = await Assert.ThrowsAsync<TokenRejectedException>(async () => await _tokens.VerifyAsync(Bad[name](_issuer), Client, nonced, default));
        Assert.DoesNotContain("eve@", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_rotation_is_followed_at_once_but_forged_key_ids_do_not_become_traffic()
    {
        await _tokens.VerifyAsync(_issuer.Sign(_issuer.Claims()), Client, null, default);
        Assert.Equal(1, _issuer.KeyRequests);
        var old = _issuer.Sign(_issuer.Claims());
        _issuer.Rotate("key-2");
        _time.Advance(ProviderMetadata.MinRefresh);
        await _tokens.VerifyAsync(_issuer.Sign(_issuer.Claims()), Client, null, default);
        Assert.Equal(2, _issuer.KeyRequests);
        await Assert.ThrowsAsync<TokenRejectedException>(async () => await _tokens.VerifyAsync(old, Client, null, default));
        for (var attempt = 0; attempt < 50; attempt++)
        {
            await Assert.ThrowsAsync<TokenRejectedException>(async () => await _tokens.VerifyAsync(_issuer.Sign(_issuer.Claims(), keyId: $"k{attempt}"), Client, null, default));
        }

        Assert.Equal(2, _issuer.KeyRequests);
    }

    [Fact]
    public async Task A_provider_that_is_down_is_bridged_for_a_day_and_no_longer()
    {
        await _tokens.VerifyAsync(_issuer.Sign(_issuer.Claims()), Client, null, default);
        _issuer.IsDown = true;
        _time.Advance(ProviderMetadata.MaxAge - TimeSpan.FromMinutes(1));
        await _metadata.GetAsync(default);
        _time.Advance(TimeSpan.FromMinutes(2));
        await Assert.ThrowsAsync<ProviderUnavailableException>(async () => await _metadata.GetAsync(default));
        _issuer.IsDown = false;
        await _metadata.GetAsync(default);
    }

    [Fact]
    public async Task A_discovery_document_that_names_another_issuer_is_not_used()
    {
        _issuer.ClaimedIssuer = "https://evil.example";
        await Assert.ThrowsAsync<ProviderUnavailableException>(async () => await _tokens.VerifyAsync(_issuer.Sign(_issuer.Claims()), Client, null, default));
    }

    [Fact]
    public async Task Weak_and_symmetric_keys_of_a_provider_are_no_keys()
    {
        _issuer.Rotate("weak", bits: 1024);
        _issuer.Keys.Add(new { kty = "oct", kid = "shared", k = WebEncoders.Base64UrlEncode(new byte[32]) });
        await Assert.ThrowsAsync<ProviderUnavailableException>(async () => await _tokens.VerifyAsync(_issuer.Sign(_issuer.Claims()), Client, null, default));
    }

    [Theory]
    [InlineData("groups", "[\"a\",\"b\"]", "a,b")]
    [InlineData("groups", "\"a\"", "a")]
    [InlineData("groups", "null", "")]
    [InlineData("groups", "[\"a\",1,null,\"a\",\"\"]", "a")]
    [InlineData("realm_access.roles", "{\"roles\":[\"x\"]}", "x")]
    [InlineData("https://corp.example/groups", "[\"y\"]", "y")]
    [InlineData("realm_access.roles", "[]", "")]
    public async Task Groups_come_from_the_configured_claim(string claim, string value, string expected)
    {
        _options.GroupsClaim = claim;
        var claims = Without(_issuer.Claims(), "groups");
        claims[claim.StartsWith("realm", StringComparison.Ordinal) ? "realm_access" : claim] = System.Text.Json.JsonSerializer.Deserialize<System.Text.Json.JsonElement>(value);
        var who = await _tokens.VerifyAsync(_issuer.Sign(claims), Client, null, default);
        Assert.Equal(expected, string.Join(",", who.Groups));
    }

    [Fact]
    public async Task An_unknown_time_of_authentication_is_the_time_of_the_token()
    {
        var claims = With(_issuer.Claims(), "auth_time", 0);
        var who = await _tokens.VerifyAsync(_issuer.Sign(claims), Client, null, default);
        Assert.Equal((long)claims["iat"]!, who.AuthenticatedAt.ToUnixTimeSeconds());
    }

    private static Dictionary<string, object?> With(Dictionary<string, object?> claims, string name, object value)
    {
        claims[name] = value;
        return claims;
    }

    private static Dictionary<string, object?> Without(Dictionary<string, object?> claims, string name)
    {
        claims.Remove(name);
        return claims;
    }

    private static string Own(TinyIssuer issuer)
    {
        using var key = System.Security.Cryptography.RSA.Create(2048);
        var parameters = key.ExportParameters(includePrivateParameters: false);
        var header = new Dictionary<string, object?>
        {
            ["jwk"] = new { kty = "RSA", n = WebEncoders.Base64UrlEncode(parameters.Modulus!), e = WebEncoders.Base64UrlEncode(parameters.Exponent!) },
            ["jku"] = "http://127.0.0.1:1/jwks",
        };
        var text = issuer.Sign(issuer.Claims(), header: header);
        var unsigned = text[..text.LastIndexOf('.')];
        var signature = key.SignData(System.Text.Encoding.ASCII.GetBytes(unsigned), System.Security.Cryptography.HashAlgorithmName.SHA256, System.Security.Cryptography.RSASignaturePadding.Pkcs1);
        return $"{unsigned}.{WebEncoders.Base64UrlEncode(signature)}";
    }

    private static string Swapped(TinyIssuer issuer)
    {
        var one = issuer.Sign(issuer.Claims()).Split('.');
        var other = issuer.Sign(With(issuer.Claims(), "sub", "admin")).Split('.');
        return $"{one[0]}.{other[1]}.{one[2]}";
    }
}
