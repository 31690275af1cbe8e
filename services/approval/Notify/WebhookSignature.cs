using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Countersign.Approval.Notify;

/// <summary>Signatures of webhooks after the Standard Webhooks specification: HMAC-SHA256 over <c>id.timestamp.body</c>.</summary>
public static class WebhookSignature
{
    /// <summary>Begins a secret.</summary>
    public const string SecretPrefix = "whsec_";

    private const int MinSecret = 24;
    private const int MaxSecret = 64;

    /// <summary>Value of the header <c>webhook-signature</c>.</summary>
    /// <param name="secrets">Secrets; one signature for each, so that a receiver can change its secret without losing anything.</param>
    /// <param name="id">Value of <c>webhook-id</c>.</param>
    /// <param name="timestamp">Value of <c>webhook-timestamp</c>, Unix seconds.</param>
    /// <param name="body">The body as it is sent.</param>
    public static string Sign(IEnumerable<byte[]> secrets, string id, long timestamp, ReadOnlySpan<byte> body)
    {
        ArgumentNullException.ThrowIfNull(secrets);
        var prefix = Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{id}.{timestamp}."));
        byte[] signed = [.. prefix, .. body];
        return string.Join(' ', secrets.Select(secret => "v1," + Convert.ToBase64String(HMACSHA256.HashData(secret, signed))));
    }

    /// <summary>Secrets of a file: lines of <c>whsec_</c> and 24 to 64 bytes in base64.</summary>
    /// <param name="text">The file.</param>
    /// <returns>Null where a line is something else, or there is none.</returns>
    public static IReadOnlyList<byte[]>? Secrets(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var secrets = new List<byte[]>();
        foreach (var line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            var buffer = new byte[MaxSecret + 3];
            if (!line.StartsWith(SecretPrefix, StringComparison.Ordinal)
                || !Convert.TryFromBase64String(line[SecretPrefix.Length..], buffer, out var length) || length is < MinSecret or > MaxSecret)
            {
                return null;
            }

            secrets.Add(buffer[..length]);
        }

        return secrets.Count is > 0 and <= 4 ? secrets : null;
    }
}
