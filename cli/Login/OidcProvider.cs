using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization;
using Countersign.Cli.Server;

namespace Countersign.Cli.Login;

/// <summary>The OpenID provider that identity trusts: discovery (OIDC Discovery 1.0) and its token endpoint, as a public client.</summary>
internal sealed class OidcProvider : IDisposable
{
    private const long LargestAnswer = 1024 * 1024;
    private readonly HttpClient _client;

    private OidcProvider(HttpClient client, LoginProvider login, OidcConfiguration configuration)
    {
        _client = client;
        Login = login;
        Configuration = configuration;
    }

    public LoginProvider Login { get; }

    public OidcConfiguration Configuration { get; }

    /// <summary>Scopes to ask for; openid is always among them.</summary>
    public string Scope => string.Join(' ', Login.Scopes.Prepend("openid").Distinct(StringComparer.Ordinal));

    /// <exception cref="CliException">The provider can't be reached, or is not who it should be.</exception>
    public static async Task<OidcProvider> DiscoverAsync(HttpMessageHandler handler, LoginProvider login, CancellationToken cancellation)
    {
        if (!Uri.TryCreate(login.Issuer, UriKind.Absolute, out var issuer) || !Transport.IsSafe(issuer))
        {
            throw new CliException(ExitCodes.Refused, $"The provider {login.Issuer} is not an https address, so nobody logs in there.", code: "insecure-provider");
        }

        var client = new HttpClient(handler) { MaxResponseContentBufferSize = LargestAnswer };
        try
        {
            var address = new Uri(login.Issuer.TrimEnd('/') + "/.well-known/openid-configuration");
            using var response = await SendAsync(client, new HttpRequestMessage(HttpMethod.Get, address), cancellation);
            var configuration = await ReadAsync<OidcConfiguration>(response, address, cancellation);
            if (!response.IsSuccessStatusCode || configuration?.TokenEndpoint is null)
            {
                throw new CliException(ExitCodes.Unavailable, $"{address} gave no OpenID configuration ({(int)response.StatusCode}).", code: "no-discovery");
            }

            // OIDC Discovery 1.0, section 4.3: the issuer must be exactly the one asked, or another provider could answer in its name.
            if (!string.Equals(configuration.Issuer?.TrimEnd('/'), login.Issuer.TrimEnd('/'), StringComparison.Ordinal))
            {
                throw new CliException(ExitCodes.Refused, $"{login.Issuer} says that it is {configuration.Issuer}.", code: "wrong-issuer");
            }

            foreach (var endpoint in new[] { configuration.TokenEndpoint, configuration.AuthorizationEndpoint, configuration.DeviceAuthorizationEndpoint })
            {
                if (endpoint is not null && !Transport.IsSafe(endpoint))
                {
                    throw new CliException(ExitCodes.Refused, $"The provider's endpoint {endpoint} is not an https address.", code: "insecure-provider");
                }
            }

            return new OidcProvider(client, login, configuration);
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    /// <summary>Posts a form to one of the provider's endpoints; errors of RFC 6749, section 5.2, come back in the answer.</summary>
    public async Task<OidcAnswer> PostAsync(Uri endpoint, IReadOnlyDictionary<string, string> form, CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, endpoint) { Content = new FormUrlEncodedContent(form) };
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("application/json"));
        using var response = await SendAsync(_client, request, cancellation);
        var answer = await ReadAsync<OidcAnswer>(response, endpoint, cancellation);
        if (answer is null || (!response.IsSuccessStatusCode && answer.Error is null))
        {
            throw new CliException(ExitCodes.Unavailable, $"{endpoint} answered {(int)response.StatusCode}, which is not understood.", code: "bad-answer");
        }

        return answer;
    }

    public void Dispose() => _client.Dispose();

    private static async Task<HttpResponseMessage> SendAsync(HttpClient client, HttpRequestMessage request, CancellationToken cancellation)
    {
        try
        {
            return await client.SendAsync(request, cancellation);
        }
        catch (HttpRequestException error)
        {
            throw CountersignServer.Unreachable(request.RequestUri!, error);
        }
    }

    private static async Task<T?> ReadAsync<T>(HttpResponseMessage response, Uri address, CancellationToken cancellation)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize<T>(await response.Content.ReadAsStringAsync(cancellation));
        }
        catch (JsonException error)
        {
            throw new CliException(ExitCodes.Unavailable, $"{address} answered {(int)response.StatusCode} without JSON.", code: "bad-answer", inner: error);
        }
    }
}

/// <summary>What is needed of a provider's metadata.</summary>
internal sealed record OidcConfiguration(
    [property: JsonPropertyName("issuer")] string? Issuer,
    [property: JsonPropertyName("authorization_endpoint")] Uri? AuthorizationEndpoint,
    [property: JsonPropertyName("token_endpoint")] Uri? TokenEndpoint,
    [property: JsonPropertyName("device_authorization_endpoint")] Uri? DeviceAuthorizationEndpoint,
    [property: JsonPropertyName("authorization_response_iss_parameter_supported")] bool IssuerInResponse);

/// <summary>Answer of the token endpoint (RFC 6749) or the device authorization endpoint (RFC 8628, section 3.2).</summary>
internal sealed record OidcAnswer(
    [property: JsonPropertyName("id_token")] string? IdToken,
    [property: JsonPropertyName("error")] string? Error,
    [property: JsonPropertyName("error_description")] string? ErrorDescription,
    [property: JsonPropertyName("device_code")] string? DeviceCode,
    [property: JsonPropertyName("user_code")] string? UserCode,
    [property: JsonPropertyName("verification_uri")] Uri? VerificationUri,
    [property: JsonPropertyName("verification_uri_complete")] Uri? VerificationUriComplete,
    [property: JsonPropertyName("interval")] int? Interval,
    [property: JsonPropertyName("expires_in")] int? ExpiresIn)
{
    /// <summary>Never prints tokens or codes.</summary>
    public override string ToString() => $"OidcAnswer {{ {Error} }}";

    public CliException Refusal(string what) => new(
        ExitCodes.Refused, $"{what}: {Error}{(string.IsNullOrEmpty(ErrorDescription) ? "" : $" ({ErrorDescription})")}", code: Error);
}
