using System.Security.Cryptography;
using System.Text;

namespace Countersign.Identity.Persons;

/// <summary>Ids and random names: a prefix and lower-case base32 (RFC 4648 alphabet, no padding).</summary>
public static class Ids
{
    private const string Alphabet = "abcdefghijklmnopqrstuvwxyz234567";

    /// <summary>A random id with 130 bits, e.g. <c>crd_…</c>.</summary>
    public static string Random(string prefix) => prefix + Base32(26);

    /// <summary>Random base32 characters, five bits each.</summary>
    public static string Base32(int characters) => RandomNumberGenerator.GetString(Alphabet, characters);

    /// <summary>The id that belongs to a subject of an issuer: always the same one, so that two first logins at once make one person.</summary>
    public static string OfPrincipal(string prefix, string issuer, string subject)
    {
        // The length keeps ("a", "bc") and ("ab", "c") apart whatever an issuer puts into a subject.
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{issuer.Length}:{issuer}{subject}"));
        var characters = new char[26];
        for (var index = 0; index < characters.Length; index++)
        {
            var bit = index * 5;
            var pair = (hash[bit / 8] << 8) | hash[(bit / 8) + 1];
            characters[index] = Alphabet[(pair >> (11 - (bit % 8))) & 31];
        }

        return prefix + new string(characters);
    }
}
