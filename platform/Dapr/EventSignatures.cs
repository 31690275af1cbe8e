using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Platform.Dapr;

/// <summary>What a publisher signs.</summary>
internal sealed record EventClaims(
    [property: JsonPropertyName("iss")] string Issuer,
    [property: JsonPropertyName("topic")] string Topic,
    [property: JsonPropertyName("id")] string Id,
    [property: JsonPropertyName("type")] string Type,
    [property: JsonPropertyName("hash")] string Hash);

/// <summary>
/// Signs events and checks them. Who can reach the broker, or has a sidecar's token, can publish whatever they like: what counts is the publisher's own
/// key. Replays are no concern of it: handlers are idempotent and events carry versions.
/// </summary>
internal sealed class EventSignatures(OwnAppId own, IServiceProvider provider, ITrustedKeys keys, TimeProvider time)
{
    // Who may say what.
    private static readonly Dictionary<string, string[]> Publishers = new(StringComparer.Ordinal)
    {
        [Topics.Audit] = [AppIds.Identity, AppIds.Policy, AppIds.Approval, AppIds.Recorder, AppIds.Proxy],
        [Topics.Identity] = [AppIds.Identity],
        [Topics.Policy] = [AppIds.Policy],
        [Topics.Approvals] = [AppIds.Approval],
    };

    private readonly SigningKey _key = provider.GetRequiredKeyedService<SigningKey>(own.Value);

    public string Sign(BusEvent published) => _key.Sign(TokenTypes.Event, new EventClaims(own.Value, published.Topic, published.Id, published.Type, Hash(published.Data.Span)));

    /// <exception cref="TokenRejectedException">It isn't what a publisher of that topic signed.</exception>
    public async ValueTask VerifyAsync(EventEnvelope envelope, CancellationToken cancellation)
    {
        if (envelope.Signature is not { Length: > 0 and <= 4096 } signature)
        {
            throw new TokenRejectedException("the event is not signed");
        }

        string issuer;
        try
        {
            issuer = new JsonWebToken(signature).Issuer;
        }
        catch (ArgumentException error)
        {
            throw new TokenRejectedException("the signature can't be read", error);
        }

        if (!Publishers.TryGetValue(envelope.Event.Topic, out var publishers) || !publishers.Contains(issuer, StringComparer.Ordinal))
        {
            throw new TokenRejectedException("its signer may not publish on this topic");
        }

        var signer = await keys.GetAsync(issuer, cancellation).ConfigureAwait(false);
        var claims = await signer.VerifyAsync<EventClaims>(signature, TokenTypes.Event, issuer, null, time.GetUtcNow(), requireExpiry: false).ConfigureAwait(false);
        if (claims.Topic != envelope.Event.Topic || claims.Id != envelope.Event.Id || claims.Type != envelope.Event.Type
            || claims.Issuer != envelope.Source || claims.Hash != Hash(envelope.Event.Data.Span))
        {
            throw new TokenRejectedException("the event was changed after it was signed");
        }
    }

    /// <summary>
    /// SHA-256 over JSON in one form: members in ordinal order, no blanks, numbers as the shortest text of their double. A sidecar decodes and encodes what it
    /// passes on, so that order, blanks, escapes and the look of numbers change.
    /// </summary>
    internal static string Hash(ReadOnlySpan<byte> data)
    {
        var reader = new Utf8JsonReader(data);
        using var document = JsonDocument.ParseValue(ref reader);
        var buffer = new ArrayBufferWriter<byte>(data.Length + 16);
        Write(buffer, document.RootElement);
        return Base64UrlEncoder.Encode(SHA256.HashData(buffer.WrittenSpan));
    }

    private static void Write(ArrayBufferWriter<byte> buffer, JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                buffer.Write("{"u8);
                foreach (var member in element.EnumerateObject().OrderBy(member => member.Name, StringComparer.Ordinal))
                {
                    WriteText(buffer, member.Name);
                    buffer.Write(":"u8);
                    Write(buffer, member.Value);
                    buffer.Write(","u8);
                }

                buffer.Write("}"u8);
                return;
            case JsonValueKind.Array:
                buffer.Write("["u8);
                foreach (var item in element.EnumerateArray())
                {
                    Write(buffer, item);
                    buffer.Write(","u8);
                }

                buffer.Write("]"u8);
                return;
            case JsonValueKind.String:
                WriteText(buffer, element.GetString()!);
                return;
            case JsonValueKind.Number:
                buffer.Write(Encoding.ASCII.GetBytes(element.GetDouble().ToString("R", CultureInfo.InvariantCulture)));
                return;
            default:
                buffer.Write(Encoding.ASCII.GetBytes(element.GetRawText()));
                return;
        }
    }

    // The length in front keeps texts apart without escapes.
    private static void WriteText(ArrayBufferWriter<byte> buffer, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        buffer.Write(Encoding.ASCII.GetBytes(bytes.Length.ToString(CultureInfo.InvariantCulture) + "\""));
        buffer.Write(bytes);
    }
}
