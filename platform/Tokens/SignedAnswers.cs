using System.Buffers.Text;
using System.Net;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Countersign.Platform.Tokens;

/// <summary>Claims of an answer's signature (docs/formats/tokens.md, <c>cs-answer+jwt</c>).</summary>
/// <param name="Issuer">Who answers.</param>
/// <param name="Audience">Who asked.</param>
/// <param name="Question">Method, path and query of the question (<see cref="SignedAnswers.Question"/>).</param>
/// <param name="Nonce">The asker's.</param>
/// <param name="Status">HTTP status.</param>
/// <param name="Body">SHA-256 of the body's bytes, base64url.</param>
/// <param name="IssuedAt">When, Unix seconds.</param>
/// <param name="ExpiresAt">Until when, Unix seconds.</param>
public sealed record AnswerClaims(
    [property: JsonPropertyName("iss")] string Issuer,
    [property: JsonPropertyName("aud")] string Audience,
    [property: JsonPropertyName("question")] string Question,
    [property: JsonPropertyName("nonce")] string Nonce,
    [property: JsonPropertyName("status")] int Status,
    [property: JsonPropertyName("body")] string Body,
    [property: JsonPropertyName("iat")] long IssuedAt,
    [property: JsonPropertyName("exp")] long ExpiresAt);

/// <summary>An answer that its service signed for this question.</summary>
/// <param name="Status">200, or 404: that there is nothing is an answer too.</param>
/// <param name="Body">As it came.</param>
public sealed record SignedAnswer(HttpStatusCode Status, ReadOnlyMemory<byte> Body)
{
    /// <summary>Reads the body; null for a 404.</summary>
    /// <exception cref="JsonException">It isn't what was expected.</exception>
    public T? Read<T>(JsonSerializerOptions options)
        where T : class
        => Status == HttpStatusCode.NotFound ? null : JsonSerializer.Deserialize<T>(Body.Span, options) ?? throw new JsonException("an empty answer");
}

/// <summary>
/// Answers of one service to another on which something is decided. Between two services stand sidecars, and whoever takes a service's place there answers for it; so the
/// one who is asked signs, with its enrolled key, what it answered to whom, to which question and when. The signature stands in a header: the body is the same for everybody.
/// </summary>
public static class SignedAnswers
{
    /// <summary>Header of the question: the asker's nonce, base64url. Without it nothing is signed.</summary>
    public const string NonceHeader = "Countersign-Nonce";

    /// <summary>Header of the answer: the signature.</summary>
    public const string SignatureHeader = "Countersign-Answer";

    /// <summary>How long a signature is good.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(1);

    private const int NonceBytes = 18;
    private const int MaxBody = 16 * 1024 * 1024;

    /// <summary>What was asked, as both sides write it: neither of them sees the other's way of escaping.</summary>
    /// <param name="method">HTTP method.</param>
    /// <param name="path">Path from the service's name, not escaped.</param>
    /// <param name="query">Query as it was sent, with its question mark; empty for none.</param>
    public static string Question(string method, string path, string query) => $"{method} {path}{query}";

    /// <summary>Whether a header can be a nonce.</summary>
    public static bool IsNonce(string? text) => text is { Length: >= 16 and <= 64 } && text.All(each => char.IsAsciiLetterOrDigit(each) || each is '-' or '_');

    /// <summary>Signs an answer.</summary>
    public static string Sign(
        SigningKey key, string issuer, string audience, string question, string nonce, int status, ReadOnlySpan<byte> body, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(key);
        return key.Sign(
            TokenTypes.Answer,
            new AnswerClaims(issuer, audience, question, nonce, status, Hash(body), now.ToUnixTimeSeconds(), (now + Lifetime).ToUnixTimeSeconds()));
    }

    /// <summary>Asks by GET, and takes nothing but an answer that the service itself signed for this question.</summary>
    /// <param name="client">Client of the service, whose base address ends with its name.</param>
    /// <param name="keys">Enrolled keys.</param>
    /// <param name="answerer">App id of the service.</param>
    /// <param name="asker">App id of the caller.</param>
    /// <param name="path">Below the service's name, escaped, e.g. <c>v1/persons/per_a/standing</c>.</param>
    /// <param name="time">Clock.</param>
    /// <param name="cancellation">Cancels the question.</param>
    /// <exception cref="TokenRejectedException">Somebody else answered, or to something else.</exception>
    /// <exception cref="HttpRequestException">There is no answer, or one that is neither 200 nor 404.</exception>
    public static async Task<SignedAnswer> AskSignedAsync(
        this HttpClient client, ITrustedKeys keys, string answerer, string asker, string path, TimeProvider time, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(client);
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(time);
        var nonce = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(NonceBytes));
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(path, UriKind.Relative));
        request.Headers.Add(NonceHeader, nonce);
        using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation).ConfigureAwait(false);
        if (response.StatusCode is not (HttpStatusCode.OK or HttpStatusCode.NotFound))
        {
            throw new HttpRequestException($"{answerer} answered {(int)response.StatusCode}", null, response.StatusCode);
        }

        if (!response.Headers.TryGetValues(SignatureHeader, out var signatures) || signatures.Take(2).ToList() is not [var signature])
        {
            throw new TokenRejectedException("the answer isn't signed");
        }

        await response.Content.LoadIntoBufferAsync(MaxBody, cancellation).ConfigureAwait(false);
        var body = await response.Content.ReadAsByteArrayAsync(cancellation).ConfigureAwait(false);
        var signer = await keys.GetAsync(answerer, cancellation).ConfigureAwait(false);
        var claims = await signer.VerifyAsync<AnswerClaims>(signature, TokenTypes.Answer, answerer, asker, time.GetUtcNow()).ConfigureAwait(false);
        var mark = path.IndexOf('?', StringComparison.Ordinal);
        var question = Question("GET", $"/{answerer}/{Uri.UnescapeDataString(mark < 0 ? path : path[..mark])}", mark < 0 ? "" : path[mark..]);
        return claims.Nonce == nonce && claims.Question == question && claims.Status == (int)response.StatusCode && claims.Body == Hash(body)
            ? new SignedAnswer(response.StatusCode, body)
            : throw new TokenRejectedException("the answer is to another question, or was changed");
    }

    private static string Hash(ReadOnlySpan<byte> body) => Base64Url.EncodeToString(SHA256.HashData(body));
}
