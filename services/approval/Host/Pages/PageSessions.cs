using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Approval.Actors;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host.Pages;

/// <summary>
/// A person's session with the pages: their own access token in HttpOnly cookies, so that a decision on a page carries the same evidence as one
/// through the API, and no state is kept here.
/// </summary>
internal sealed class PageSessions([FromKeyedServices(AppIds.Approval)] IServiceClients clients, TokenEvidence evidence)
{
    private const string TokenCookie = "cs_approval";
    private const string LoginCookie = "cs_approval_login";
    private const string CookiePath = "/approval";
    private const int ChunkLength = 3500;
    private const int MaxChunks = 4;

    /// <summary>Whoever is logged in; null for nobody, or with a token that is good no longer.</summary>
    public async Task<Caller?> FindAsync(HttpContext http)
    {
        var token = new StringBuilder();
        for (var chunk = 0; chunk < MaxChunks && http.Request.Cookies[Name(chunk)] is { Length: > 0 } part; chunk++)
        {
            token.Append(part);
        }

        if (token.Length == 0)
        {
            return null;
        }

        try
        {
            var text = token.ToString();
            return new Caller(await evidence.AccessAsync(text, AppIds.Approval, http.RequestAborted), null, text);
        }
        catch (EvidenceRejectedException)
        {
            return null;
        }
    }

    /// <summary>Sends the browser to identity; it comes back to the same page with a code.</summary>
    public static IResult Begin(HttpContext http, string page)
    {
        var nonce = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));
        http.Response.Cookies.Append(LoginCookie, nonce, Options(http, TimeSpan.FromMinutes(10)));
        var back = Uri.EscapeDataString($"{page}?login={nonce}");
        return Results.Redirect($"/identity/login?audience={AppIds.Approval}&return={back}");
    }

    /// <summary>Exchanges the code that identity sent along. False where this browser didn't begin the login, or the code is not good.</summary>
    public async Task<bool> CompleteAsync(HttpContext http)
    {
        var (code, login) = (http.Request.Query["code"].ToString(), http.Request.Query["login"].ToString());
        var begun = http.Request.Cookies[LoginCookie] ?? "";
        http.Response.Cookies.Delete(LoginCookie, Options(http, null));
        // Else anybody could log somebody in as somebody else by a link.
        if (code.Length is 0 or > 4096 || !CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(begun), Encoding.UTF8.GetBytes(login)) || login.Length == 0)
        {
            return false;
        }

        try
        {
            using var response = await clients.Create(AppIds.Identity).PostAsJsonAsync(
                new Uri("v1/tokens", UriKind.Relative), new { grant = "login_code", code, audience = AppIds.Approval }, http.RequestAborted);
            if (!response.IsSuccessStatusCode)
            {
                return (int)response.StatusCode < 500 ? false : throw new PortUnavailableException("identity can't be asked");
            }

            var tokens = await response.Content.ReadFromJsonAsync<Tokens>(http.RequestAborted);
            await evidence.AccessAsync(tokens?.AccessToken ?? "", AppIds.Approval, http.RequestAborted);
            Store(http, tokens!);
            return true;
        }
        catch (EvidenceRejectedException)
        {
            return false;
        }
        catch (Exception error) when (error is HttpRequestException or JsonException or IOException)
        {
            throw new PortUnavailableException("identity can't be asked", error);
        }
    }

    /// <summary>What a form of this person on this request must send back. Nobody can know it who doesn't know the cookie.</summary>
    public static string FormToken(Caller caller, string request) => Convert.ToHexStringLower(HMACSHA256.HashData(
        SHA256.HashData(Encoding.UTF8.GetBytes("countersign form v1\n" + caller.Token)), Encoding.UTF8.GetBytes(request)));

    /// <summary>Whether a form was ours.</summary>
    public static bool IsFormToken(Caller caller, string request, string token) =>
        CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(FormToken(caller, request)), Encoding.UTF8.GetBytes(token));

    private static void Store(HttpContext http, Tokens tokens)
    {
        var lifetime = TimeSpan.FromSeconds(Math.Clamp(tokens.ExpiresIn, 1, 900));
        var token = tokens.AccessToken;
        if (token.Length > ChunkLength * MaxChunks)
        {
            throw new ProblemException(StatusCodes.Status400BadRequest, "token-too-long", "The access token is too long for a cookie: it names too many groups.");
        }

        for (var chunk = 0; chunk < MaxChunks; chunk++)
        {
            var start = chunk * ChunkLength;
            if (start < token.Length)
            {
                http.Response.Cookies.Append(Name(chunk), token.Substring(start, Math.Min(ChunkLength, token.Length - start)), Options(http, lifetime));
            }
            else
            {
                http.Response.Cookies.Delete(Name(chunk), Options(http, null));
            }
        }
    }

    private static string Name(int chunk) => chunk == 0 ? TokenCookie : $"{TokenCookie}_{chunk}";

    // Lax, not Strict: a link in a message must open without logging in again. What changes anything is a POST, which Lax does not carry across sites.
    private static CookieOptions Options(HttpContext http, TimeSpan? lifetime) => new()
    {
        HttpOnly = true,
        // Behind something that ends TLS the request itself is plain; people still come by https.
        Secure = http.Request.IsHttps || http.RequestServices.GetRequiredService<PublicAddress>().Base.StartsWith("https:", StringComparison.OrdinalIgnoreCase),
        SameSite = SameSiteMode.Lax,
        Path = CookiePath,
        MaxAge = lifetime,
        IsEssential = true,
    };

    private sealed record Tokens(string AccessToken, int ExpiresIn);
}
