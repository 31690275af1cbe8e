using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;

namespace Countersign.Fakes.Cluster;

/// <summary>Somebody with an account at the development issuer, who uses nothing but what the network offers.</summary>
public sealed class Visitor(Uri entrance, Account account)
{
    private readonly Dictionary<string, string> _tokens = [];
    private string _refresh = "";

    /// <summary>Login name.</summary>
    public string Name => account.Name;

    /// <summary>Person id.</summary>
    public string Id { get; private set; } = "";

    /// <summary>Logs in with the device flow (RFC 8628); what a person does in a browser is done by HTTP.</summary>
    public async Task LogInAsync()
    {
        using var http = new HttpClient(new SocketsHttpHandler { UseCookies = true }) { BaseAddress = entrance };
        var login = await http.GetFromJsonAsync<JsonElement>("identity/v1/login");
        var client = login.GetProperty("clientId").GetString()!;
        var provider = await http.GetFromJsonAsync<JsonElement>($"{login.GetProperty("issuer").GetString()!.TrimEnd('/')}/.well-known/openid-configuration");
        var begun = await FormAsync(http, provider.GetProperty("device_authorization_endpoint").GetString()!, new()
        {
            ["client_id"] = client,
            ["scope"] = string.Join(' ', login.GetProperty("scopes").EnumerateArray().Select(each => each.GetString())),
        });
        var issuer = new Uri(login.GetProperty("issuer").GetString()!).GetLeftPart(UriPartial.Authority);
        await FormAsync(http, issuer + "/dev-issuer/login", new() { ["name"] = account.Name, ["password"] = account.Password, ["return"] = "/dev-issuer/device" });
        await FormAsync(http, issuer + "/dev-issuer/device", new() { ["user_code"] = begun.GetProperty("user_code").GetString()! });
        var answer = await FormAsync(http, provider.GetProperty("token_endpoint").GetString()!, new()
        {
            ["grant_type"] = "urn:ietf:params:oauth:grant-type:device_code",
            ["device_code"] = begun.GetProperty("device_code").GetString()!,
            ["client_id"] = client,
        });
        using var issued = await http.PostAsJsonAsync("identity/v1/tokens", new { grant = "id_token", idToken = answer.GetProperty("id_token").GetString(), audience = "identity" });
        Keep("identity", await OkAsync(issued));
        var claims = JsonSerializer.Deserialize<JsonElement>(System.Buffers.Text.Base64Url.DecodeFromChars(_tokens["identity"].Split('.')[1]));
        Id = claims.GetProperty("person").GetString()!;
    }

    /// <summary>An access token for one service.</summary>
    public async Task<string> TokenAsync(string audience)
    {
        if (!_tokens.TryGetValue(audience, out var token))
        {
            using var http = new HttpClient { BaseAddress = entrance };
            using var answer = await http.PostAsJsonAsync("identity/v1/tokens", new { grant = "refresh", refreshToken = _refresh, audience });
            Keep(audience, await OkAsync(answer));
            token = _tokens[audience];
        }

        return token;
    }

    /// <summary>Forgets access tokens: the next ones say what the person is now.</summary>
    public void Renew() => _tokens.Clear();

    /// <summary>Calls a service with the person's own token.</summary>
    public async Task<(HttpStatusCode Status, JsonElement Body)> CallAsync(HttpMethod method, string path, object? body = null)
    {
        using var http = new HttpClient { BaseAddress = entrance };
        using var request = new HttpRequestMessage(method, path);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", await TokenAsync(path[..path.IndexOf('/', StringComparison.Ordinal)]));
        request.Content = body is null ? null : JsonContent.Create(body, body.GetType());
        using var answer = await http.SendAsync(request);
        var text = await answer.Content.ReadAsStringAsync();
        return (answer.StatusCode, text.Length == 0 ? default : JsonSerializer.Deserialize<JsonElement>(text));
    }

    /// <summary>The same where it must succeed.</summary>
    public async Task<JsonElement> GoodAsync(HttpMethod method, string path, object? body = null)
    {
        var (status, answer) = await CallAsync(method, path, body);
        return (int)status < 300 ? answer : throw new HttpRequestException($"{account.Name}: {method} {path}: {(int)status} {answer}");
    }

    /// <summary>Looks at a request, and approves what was shown.</summary>
    /// <returns>When the approval was sent, and when it was answered.</returns>
    public async Task<(DateTimeOffset Sent, DateTimeOffset Answered)> ApproveAsync(string request)
    {
        var shown = await GoodAsync(HttpMethod.Get, $"approval/v1/requests/{request}");
        var digest = new { digest = shown.GetProperty("digest").GetString(), comment = "" };
        var sent = DateTimeOffset.UtcNow;
        await GoodAsync(HttpMethod.Post, $"approval/v1/requests/{request}/approve", digest);
        return (sent, DateTimeOffset.UtcNow);
    }

    private static async Task<JsonElement> FormAsync(HttpClient http, string address, Dictionary<string, string> form)
    {
        using var content = new FormUrlEncodedContent(form);
        using var answer = await http.PostAsync(new Uri(address, UriKind.RelativeOrAbsolute), content);
        answer.EnsureSuccessStatusCode();
        var text = await answer.Content.ReadAsStringAsync();
        return text.StartsWith('{') ? JsonSerializer.Deserialize<JsonElement>(text) : default;
    }

    private static async Task<JsonElement> OkAsync(HttpResponseMessage answer)
    {
        var text = await answer.Content.ReadAsStringAsync();
        return answer.IsSuccessStatusCode ? JsonSerializer.Deserialize<JsonElement>(text) : throw new HttpRequestException(text);
    }

    private void Keep(string audience, JsonElement issued)
    {
        _tokens[audience] = issued.GetProperty("accessToken").GetString()!;
        if (issued.TryGetProperty("refreshToken", out var refresh) && refresh.GetString() is { Length: > 0 } next)
        {
            _refresh = next;
        }
    }
}
