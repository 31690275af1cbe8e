using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Bundles;

/// <summary>Bundle to payload and back (docs/formats/bundle.md). What is signed is what is decoded: nobody encodes a payload a second time.</summary>
public static class BundleCodec
{
    /// <summary>Largest payload in bytes.</summary>
    public const int MaxPayload = 16 * 1024 * 1024;

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        AllowDuplicateProperties = false,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        MaxDepth = 16,
    };

    /// <summary>The payload of a bundle: UTF-8 JSON, documents, connections and labels in ordinal order of their names.</summary>
    public static byte[] Encode(Bundle bundle)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        var ordered = bundle with
        {
            Documents = [.. bundle.Documents.OrderBy(document => document.Name, StringComparer.Ordinal)],
            Connections =
            [
                .. bundle.Connections.OrderBy(connection => connection.Name, StringComparer.Ordinal)
                    .Select(connection => connection with { Labels = new SortedDictionary<string, string>(connection.Labels.ToDictionary(), StringComparer.Ordinal) }),
            ],
        };
        return JsonSerializer.SerializeToUtf8Bytes(ordered, Json);
    }

    /// <summary>Decodes a payload, strictly.</summary>
    /// <exception cref="BundleRejectedException">Not a bundle.</exception>
    public static Bundle Decode(ReadOnlySpan<byte> payload)
    {
        if (payload.Length > MaxPayload)
        {
            throw new BundleRejectedException("the payload is too large");
        }

        try
        {
            return JsonSerializer.Deserialize<Bundle>(payload, Json) ?? throw new BundleRejectedException("the payload is empty");
        }
        catch (Exception error) when (error is JsonException or NotSupportedException or ArgumentException)
        {
            throw new BundleRejectedException("the payload is not a bundle", error);
        }
    }

    /// <summary>SHA-256 of a payload, 64 lower-case hexadecimal digits.</summary>
    public static string Digest(ReadOnlySpan<byte> payload) => Convert.ToHexStringLower(SHA256.HashData(payload));

    /// <summary>The payload of an envelope.</summary>
    /// <exception cref="BundleRejectedException">Not base64url, or too large.</exception>
    public static byte[] Payload(BundleEnvelope envelope)
    {
        ArgumentNullException.ThrowIfNull(envelope);
        if (envelope.Payload is null || envelope.Payload.Length > MaxPayload / 3 * 4 + 4)
        {
            throw new BundleRejectedException("the payload is missing or too large");
        }

        try
        {
            return Base64Url.DecodeFromChars(envelope.Payload);
        }
        catch (FormatException error)
        {
            throw new BundleRejectedException("the payload is not base64url", error);
        }
    }
}

/// <summary>A bundle that must not be enforced. The message may be shown.</summary>
public sealed class BundleRejectedException : Exception
{
    /// <summary>Says why.</summary>
    public BundleRejectedException(string message)
        : base(message)
    {
    }

    /// <summary>Says why.</summary>
    public BundleRejectedException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public BundleRejectedException()
    {
    }
}
