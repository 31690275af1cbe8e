using System.Text;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Tokens;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Identity.Tests;

/// <summary>docs/formats/tokens.md, frozen: names and shapes of claims outlive a version of the software.</summary>
[Trait("group", "unit")]
public sealed class TokenFormatTests : IDisposable
{
    private readonly SigningKey _key = SigningKey.Create();

    public void Dispose() => _key.Dispose();

    [Fact]
    public void Access_token()
    {
        var claims = new AccessTokenClaims
        {
            Issuer = "identity",
            Audience = "approval",
            Subject = "pri_a",
            Id = "tok_a",
            IssuedAt = 1,
            ExpiresAt = 901,
            Person = "per_a",
            Name = "alice@example.test",
            Kind = "human",
            Groups = ["dba"],
            Enrolled = true,
            Bootstrap = true,
            Acr = "phr",
            Amr = ["pwd", "otp"],
            AuthenticatedAt = 0,
        };
        Frozen(TokenTypes.Access, "at+jwt", claims, """
            {"iss":"identity","aud":"approval","sub":"pri_a","jti":"tok_a","iat":1,"exp":901,"person":"per_a","name":"alice@example.test","kind":"human","owners":[],"groups":["dba"],"enrolled":true,"bootstrap":true,"acr":"phr","amr":["pwd","otp"],"auth_time":0}
            """);
    }

    [Fact]
    public void Session_assertion()
    {
        var claims = new SessionAssertionClaims
        {
            Issuer = "identity",
            Audience = "session",
            Subject = "pri_a",
            Session = "ses_a",
            Proxy = "proxy",
            Connection = "orders",
            Credential = "crd_a",
            Person = "per_s",
            Name = "etl",
            Kind = "service",
            Owners = ["per_a", "per_b"],
            AuthenticatedAt = 0,
            IssuedAt = 1,
            ExpiresAt = 601,
        };
        Frozen(TokenTypes.Session, "cs-session+jwt", claims, """
            {"iss":"identity","aud":"session","sub":"pri_a","sid":"ses_a","proxy":"proxy","connection":"orders","credential":"crd_a","person":"per_s","name":"etl","kind":"service","owners":["per_a","per_b"],"groups":[],"amr":[],"auth_time":0,"iat":1,"exp":601}
            """);
    }

    [Fact]
    public void Service_token() => Frozen(
        TokenTypes.Service, "cs-service+jwt", new ServiceTokenClaims("proxy", "approval", 1, 61), """{"iss":"proxy","aud":"approval","iat":1,"exp":61}""");

    [Fact]
    public void Answer() => Frozen(
        TokenTypes.Answer, "cs-answer+jwt", new AnswerClaims("identity", "approval", "GET /identity/v1/persons/per_a/standing", "bm9uY2Vub25jZW5vbmNl", 200, "LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564", 1, 61),
        """{"iss":"identity","aud":"approval","question":"GET /identity/v1/persons/per_a/standing","nonce":"bm9uY2Vub25jZW5vbmNl","status":200,"body":"LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564","iat":1,"exp":61}""");

    [Fact]
    public void Beacon() => Frozen(TokenTypes.Beacon, "cs-beacon+jwt", new IdentityBeacon(7, 1), """{"revocations":7,"iat":1}""");

    [Fact]
    public void Every_type_has_its_own_name()
    {
        var names = typeof(TokenTypes).GetFields().Select(field => (string)field.GetRawConstantValue()!).ToList();
        Assert.Equal(names.Count, names.Distinct(StringComparer.OrdinalIgnoreCase).Count());
        Assert.All(names, name => Assert.EndsWith("+jwt", name, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_claim_of_a_later_version_is_ignored_and_a_missing_one_is_not()
    {
        var keys = new VerificationKeys([_key.PublicKey]);
        var later = JsonSerializer.Deserialize<JsonElement>("""{"revocations":7,"iat":1,"later":true}""");
        Assert.Equal(7, (await keys.VerifyAsync<IdentityBeacon>(_key.Sign(TokenTypes.Beacon, later), TokenTypes.Beacon, null, null, default, requireExpiry: false)).RevocationHead);
        var less = JsonSerializer.Deserialize<JsonElement>("""{"iat":1}""");
        await Assert.ThrowsAsync<TokenRejectedException>(async () =>
            await keys.VerifyAsync<IdentityBeacon>(_key.Sign(TokenTypes.Beacon, less), TokenTypes.Beacon, null, null, default, requireExpiry: false));
    }

    private void Frozen<T>(string type, string name, T claims, string payload)
    {
        var parts = _key.Sign(type, claims).Split('.');
        Assert.Equal(payload, Encoding.UTF8.GetString(Base64UrlEncoder.DecodeBytes(parts[1])));
        var header = JsonSerializer.Deserialize<Dictionary<string, string>>(Base64UrlEncoder.DecodeBytes(parts[0]))!;
        Assert.Equal(new Dictionary<string, string> { ["alg"] = "ES256", ["kid"] = _key.KeyId, ["typ"] = name }, header);
    }
}
