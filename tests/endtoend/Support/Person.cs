using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;

namespace Countersign.EndToEnd.Tests.Support;

/// <summary>Somebody with an account at the provider, who uses nothing but what the network offers.</summary>
public sealed class Person(World world, string name, string password)
{
    private readonly Dictionary<string, string> _tokens = [];
    private string _refresh = "";
    private CreatedCredential? _credential;

    /// <summary>Login name.</summary>
    public string Name => name;

    /// <summary>Display name.</summary>
    public string Email => $"{name}@example.com";

    /// <summary>Password at the provider.</summary>
    public string Password => password;

    /// <summary>Person id.</summary>
    public string Id { get; private set; } = "";

    /// <summary>Logs in.</summary>
    public async Task LogInAsync()
    {
        var token = await ProviderTokenAsync();
        using var http = world.Http();
        _tokens.Clear();
        using var issued = await http.PostAsJsonAsync("identity/v1/tokens", new { grant = "id_token", idToken = token, audience = "identity" });
        Assert.True(issued.IsSuccessStatusCode, await issued.Content.ReadAsStringAsync());
        Keep("identity", await issued.Content.ReadFromJsonAsync<JsonElement>());
        Id = Claims(_tokens["identity"]).GetProperty("person").GetString()!;
    }

    /// <summary>A fresh id_token of the provider, by device code (RFC 8628); what a person does in the browser is done by HTTP.</summary>
    public async Task<string> ProviderTokenAsync()
    {
        using var http = world.Http(cookies: true);
        var login = await http.GetFromJsonAsync<JsonElement>("identity/v1/login");
        var issuer = login.GetProperty("issuer").GetString()!;
        var client = login.GetProperty("clientId").GetString()!;
        var provider = await http.GetFromJsonAsync<JsonElement>($"{issuer.TrimEnd('/')}/.well-known/openid-configuration");
        var begun = await FormAsync(http, provider.GetProperty("device_authorization_endpoint").GetString()!, new()
        {
            ["client_id"] = client,
            ["scope"] = string.Join(' ', login.GetProperty("scopes").EnumerateArray().Select(each => each.GetString())),
        });
        using (var page = await http.PostAsync("dev-issuer/login", new FormUrlEncodedContent(new Dictionary<string, string> { ["name"] = name, ["password"] = password, ["return"] = "/dev-issuer/device" })))
        {
            page.EnsureSuccessStatusCode();
        }

        using (var page = await http.PostAsync("dev-issuer/device", new FormUrlEncodedContent(new Dictionary<string, string> { ["user_code"] = begun.GetProperty("user_code").GetString()! })))
        {
            page.EnsureSuccessStatusCode();
        }

        return await Until.NotNullAsync("the device login", async () =>
        {
            var answer = await FormAsync(http, provider.GetProperty("token_endpoint").GetString()!, new()
            {
                ["grant_type"] = "urn:ietf:params:oauth:grant-type:device_code",
                ["device_code"] = begun.GetProperty("device_code").GetString()!,
                ["client_id"] = client,
            });
            return answer.TryGetProperty("id_token", out var id) ? id.GetString() : null;
        });
    }

    /// <summary>An access token for one service.</summary>
    /// <param name="audience">App id.</param>
    /// <param name="fresh">True to ask for a new one, which says what the person is now.</param>
    public async Task<string> TokenAsync(string audience, bool fresh = false)
    {
        if (!fresh && _tokens.TryGetValue(audience, out var kept))
        {
            return kept;
        }

        using var http = world.Http();
        using var answer = await http.PostAsJsonAsync("identity/v1/tokens", new { grant = "refresh", refreshToken = _refresh, audience });
        Assert.True(answer.IsSuccessStatusCode, $"{name}: {await answer.Content.ReadAsStringAsync()}");
        Keep(audience, await answer.Content.ReadFromJsonAsync<JsonElement>());
        return _tokens[audience];
    }

    /// <summary>Forgets access tokens: the next ones say what the person is now.</summary>
    public void Renew() => _tokens.Clear();

    /// <summary>Calls a service with the person's own token.</summary>
    public async Task<Answer> CallAsync(HttpMethod method, string path, object? body = null) =>
        await world.CallAsync(method, path, await TokenAsync(path[..path.IndexOf('/', StringComparison.Ordinal)]), body);

    /// <summary>GET.</summary>
    public async Task<T> GetAsync<T>(string path) => (await CallAsync(HttpMethod.Get, path)).Read<T>();

    /// <summary>POST.</summary>
    public Task<Answer> PostAsync(string path, object body) => CallAsync(HttpMethod.Post, path, body);

    /// <summary>One request.</summary>
    public Task<RequestView> RequestAsync(string id) => GetAsync<RequestView>($"approval/v1/requests/{id}");

    /// <summary>Approves or denies after a look at it: sends the digest that was shown.</summary>
    public async Task<Answer> DecideAsync(string id, bool approve, string comment = "", string? digest = null)
    {
        digest ??= (await world.Bob.RequestAsync(id)).Digest;
        return await PostAsync($"approval/v1/requests/{id}/{(approve ? "approve" : "deny")}", new DecideRequest(digest, comment));
    }

    /// <summary>Approves; it must be taken.</summary>
    public async Task ApproveAsync(string id)
    {
        var answer = await DecideAsync(id, approve: true);
        Assert.True(answer.Status == HttpStatusCode.OK, answer.ToString());
    }

    /// <summary>A credential of one's own, the same for the whole run.</summary>
    public async Task<CreatedCredential> CredentialAsync() => _credential ??= await NewCredentialAsync("*");

    /// <summary>A fresh credential.</summary>
    public async Task<CreatedCredential> NewCredentialAsync(params string[] connections) =>
        (await PostAsync("identity/v1/credentials", new CreateCredential(connections, 3600))).Read<CreatedCredential>();

    /// <summary>A session through the gateway.</summary>
    public async Task<RawClient> ConnectAsync(string connection = "shop", params string[] startup)
    {
        var credential = await CredentialAsync();
        return await RawClient.LogInAsync(world.GatewayPort, credential.Credential.UserName, credential.Secret, connection, startup);
    }

    /// <summary>The id of one's one request that waits; waits until there is one.</summary>
    public Task<string> PendingAsync() => Until.NotNullAsync($"a request of {name}", async () =>
        (await GetAsync<List<RequestView>>("approval/v1/requests?filter=mine&state=pending")).FirstOrDefault()?.Id);

    /// <summary>Claims of a token, unverified.</summary>
    public static JsonElement Claims(string token) =>
        JsonSerializer.Deserialize<JsonElement>(System.Buffers.Text.Base64Url.DecodeFromChars(token.Split('.')[1]));

    private static async Task<JsonElement> FormAsync(HttpClient http, string address, Dictionary<string, string> form)
    {
        using var answer = await http.PostAsync(address, new FormUrlEncodedContent(form));
        return await answer.Content.ReadFromJsonAsync<JsonElement>();
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

/// <summary>What a service answered.</summary>
public sealed record Answer(HttpStatusCode Status, string Body)
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    /// <summary><c>code</c> of the problem details (RFC 9457).</summary>
    public string Code => Body.StartsWith('{') && JsonSerializer.Deserialize<JsonElement>(Body).TryGetProperty("code", out var code) ? code.GetString() ?? "" : "";

    /// <summary>The body of a success.</summary>
    public T Read<T>()
    {
        Assert.True((int)Status is >= 200 and < 300, ToString());
        return JsonSerializer.Deserialize<T>(Body, Json)!;
    }

    /// <inheritdoc/>
    public override string ToString() => $"{(int)Status} {Body}";
}

/// <summary>Waits for conditions.</summary>
public static class Until
{
    /// <summary>Longest wait.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(60);

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

    /// <summary>Waits until it is so.</summary>
    public static async Task TrueAsync(string what, Func<Task<bool>> condition) =>
        await NotNullAsync(what, async () => await condition() ? what : null);

    /// <summary>Waits until there is one.</summary>
    public static async Task<T> NotNullAsync<T>(string what, Func<Task<T?>> get)
        where T : class
    {
        var began = TimeProvider.System.GetTimestamp();
        while (true)
        {
            if (await get() is { } found)
            {
                return found;
            }

            if (TimeProvider.System.GetElapsedTime(began) > Longest)
            {
                throw new TimeoutException($"waited in vain for: {what}");
            }

            await Task.Delay(Pause);
        }
    }
}
