using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Extensions.Logging;

namespace Countersign.Identity.Tests.Support;

/// <summary>An issuer that does everything wrong on request: discovery, keys, and tokens signed by hand.</summary>
internal sealed class TinyIssuer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private TinyIssuer(WebApplication app, string url)
    {
        (_app, Issuer, ClaimedIssuer) = (app, url, url);
        Rotate("key-1");
    }

    public string Issuer { get; }

    /// <summary>What the discovery document says.</summary>
    public string ClaimedIssuer { get; set; }

    public string KeyId { get; private set; } = "";

    public RSA Key { get; private set; } = RSA.Create(2048);

    public List<object> Keys { get; } = [];

    public int KeyRequests { get; private set; }

    public bool IsDown { get; set; }

    public static async Task<TinyIssuer> StartAsync()
    {
        var url = $"http://127.0.0.1:{IdentityHost.FreePort()}";
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls(url);
        var app = builder.Build();
        var issuer = new TinyIssuer(app, url);
        app.Use(async (context, next) =>
        {
            if (issuer.IsDown)
            {
                context.Response.StatusCode = (int)HttpStatusCode.ServiceUnavailable;
                return;
            }

            await next(context);
        });
        app.MapGet("/.well-known/openid-configuration", () => new Dictionary<string, object>
        {
            ["issuer"] = issuer.ClaimedIssuer,
            ["jwks_uri"] = url + "/jwks",
            ["token_endpoint"] = url + "/token",
            ["authorization_endpoint"] = url + "/authorize",
            ["id_token_signing_alg_values_supported"] = new[] { "RS256", "none", "HS256" },
        });
        app.MapGet("/jwks", () =>
        {
            issuer.KeyRequests++;
            return new { keys = issuer.Keys };
        });
        await app.StartAsync();
        return issuer;
    }

    /// <summary>Another key, the only one from now on.</summary>
    public void Rotate(string keyId, int bits = 2048)
    {
        Key = RSA.Create(bits);
        KeyId = keyId;
        var parameters = Key.ExportParameters(includePrivateParameters: false);
        Keys.Clear();
        Keys.Add(new { kty = "RSA", kid = keyId, use = "sig", n = WebEncoders.Base64UrlEncode(parameters.Modulus!), e = WebEncoders.Base64UrlEncode(parameters.Exponent!) });
    }

    public Dictionary<string, object?> Claims(string audience = "countersign-cli") => new()
    {
        ["iss"] = Issuer,
        ["aud"] = audience,
        ["sub"] = "subject-1",
        ["iat"] = Now,
        ["exp"] = Now + 300,
        ["email"] = "eve@example.test",
        ["groups"] = new[] { "dba", "oncall" },
    };

    public static long Now => DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    public string Sign(Dictionary<string, object?> claims, string algorithm = "RS256", string? keyId = null, Dictionary<string, object?>? header = null)
    {
        var head = new Dictionary<string, object?> { ["alg"] = algorithm, ["typ"] = "JWT", ["kid"] = keyId ?? KeyId };
        foreach (var (name, value) in header ?? [])
        {
            head[name] = value;
        }

        var text = $"{Part(head)}.{Part(claims)}";
        var bytes = Encoding.ASCII.GetBytes(text);
        var signature = algorithm switch
        {
            "RS256" => Key.SignData(bytes, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1),
            "PS256" => Key.SignData(bytes, HashAlgorithmName.SHA256, RSASignaturePadding.Pss),
            "RS384" => Key.SignData(bytes, HashAlgorithmName.SHA384, RSASignaturePadding.Pkcs1),
            "HS256" => HMACSHA256.HashData(Encoding.ASCII.GetBytes(Key.ExportSubjectPublicKeyInfoPem()), bytes),
            _ => [],
        };
        return $"{text}.{WebEncoders.Base64UrlEncode(signature)}";
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        Key.Dispose();
    }

    private static string Part(Dictionary<string, object?> value) => WebEncoders.Base64UrlEncode(JsonSerializer.SerializeToUtf8Bytes(value));
}
