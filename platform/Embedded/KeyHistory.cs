using System.Text;
using Countersign.Platform.Tokens;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Platform.Embedded;

/// <summary>
/// Public parts of the keys that a service of this process has signed with, newest first, in <c>&lt;appid&gt;.previous.jwks.json</c> beside the key: a bundle, a seal
/// or an event that waits outlives the key that signed it. Whose key was replaced because it was stolen takes it out of that file.
/// </summary>
internal static class KeyHistory
{
    /// <summary>How many are kept, the current one included.</summary>
    public const int Max = 33;

    /// <summary>Path of the file.</summary>
    public static string PathOf(string keys, string appId) => Path.Combine(keys, appId + ".previous.jwks.json");

    /// <summary>Notes the current key, so that it is known when another one has replaced it.</summary>
    /// <returns>All that verify, the current one first.</returns>
    /// <exception cref="InvalidDataException">The file is damaged: going on without it would lose what its keys have signed.</exception>
    public static VerificationKeys Note(string keys, string appId, JsonWebKey current)
    {
        var path = PathOf(keys, appId);
        IReadOnlyList<JsonWebKey> known = [];
        if (File.Exists(path))
        {
            try
            {
                known = VerificationKeys.FromJson(File.ReadAllText(path)).Keys;
            }
            catch (ArgumentException error)
            {
                throw new InvalidDataException($"{path} is not a JWK set.", error);
            }
        }

        var all = new VerificationKeys([current, .. known.Where(key => key.KeyId != current.KeyId).Take(Max - 1)]);
        if (known.All(key => key.KeyId != current.KeyId))
        {
            PrivateFiles.WriteAtomically(path, Encoding.UTF8.GetBytes(all.ToJson()));
        }

        return all;
    }
}
