using System.Text;
using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres.Scram;

/// <summary>Pieces of SCRAM messages (RFC 5802 section 7). All of them are printable ASCII here: names are empty and nonces are printable.</summary>
internal static class ScramText
{
    public const string Sha256 = "SCRAM-SHA-256";
    public const string Sha256Plus = "SCRAM-SHA-256-PLUS";

    /// <summary>Longest message of an exchange in bytes.</summary>
    public const int MaxLength = 2048;

    /// <summary>Decodes a message.</summary>
    /// <exception cref="MalformedMessageException">Too long or not printable ASCII.</exception>
    public static string Decode(ReadOnlySpan<byte> message)
    {
        if (message.Length > MaxLength)
        {
            throw new MalformedMessageException("A SCRAM message is too long.");
        }

        foreach (var each in message)
        {
            if (each is < 0x20 or > 0x7e)
            {
                throw new MalformedMessageException("A SCRAM message is not printable ASCII.");
            }
        }

        return Encoding.ASCII.GetString(message);
    }

    /// <summary>Takes the attribute <c>name=value</c> that must come next.</summary>
    public static string Expect(ref ReadOnlySpan<char> rest, char name)
    {
        if (rest.Length < 2 || rest[0] != name || rest[1] != '=')
        {
            throw new MalformedMessageException($"A SCRAM message lacks its attribute '{name}'.");
        }

        rest = rest[2..];
        var comma = rest.IndexOf(',');
        var value = comma < 0 ? rest : rest[..comma];
        rest = comma < 0 ? [] : rest[(comma + 1)..];
        return value.ToString();
    }

    /// <summary>Decodes base64.</summary>
    public static byte[] FromBase64(string text)
    {
        try
        {
            return Convert.FromBase64String(text);
        }
        catch (FormatException)
        {
            throw new MalformedMessageException("A SCRAM message holds something that is not base64.");
        }
    }
}
