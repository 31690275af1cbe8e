using System.Collections.Concurrent;
using System.Text;
using Countersign.Platform.Tokens;

namespace Countersign.Platform.Embedded;

/// <summary>
/// Enrolled public keys in <c>&lt;data&gt;/keys/&lt;appid&gt;.jwks.json</c>: each service writes its own at start, everybody reads. Whoever can
/// write there could also replace the services themselves. A file is read again when it changes.
/// </summary>
public sealed class FileTrustedKeys : ITrustedKeys
{
    private const int MaxFileLength = 64 * 1024;
    private readonly string _directory;
    private readonly ConcurrentDictionary<string, Entry> _cache = new(StringComparer.Ordinal);

    /// <summary>Reads from a directory.</summary>
    public FileTrustedKeys(string directory) => _directory = directory;

    /// <summary>Path of the key set of a service.</summary>
    public static string PathOf(string directory, string appId) => Path.Combine(directory, appId + ".jwks.json");

    /// <summary>Enrols the public key of a service, replacing its file as a whole.</summary>
    public static void Publish(string directory, string appId, SigningKey key)
    {
        CheckName(appId);
        PrivateFiles.WriteAtomically(PathOf(directory, appId), Encoding.UTF8.GetBytes(new VerificationKeys([key.PublicKey]).ToJson()));
    }

    /// <inheritdoc/>
    public ValueTask<VerificationKeys> GetAsync(string issuer, CancellationToken cancellation)
    {
        CheckName(issuer);
        var file = new FileInfo(PathOf(_directory, issuer));
        if (!file.Exists || file.Length > MaxFileLength)
        {
            throw new TokenRejectedException("nobody of that name is enrolled") { IsSignerUnknown = true };
        }

        var stamp = (file.LastWriteTimeUtc, file.Length);
        if (_cache.TryGetValue(issuer, out var kept) && kept.Stamp == stamp)
        {
            return ValueTask.FromResult(kept.Keys);
        }

        try
        {
            var keys = VerificationKeys.FromJson(File.ReadAllText(file.FullName));
            _cache[issuer] = new Entry(stamp, keys);
            return ValueTask.FromResult(keys);
        }
        catch (Exception error) when (error is ArgumentException or IOException or UnauthorizedAccessException)
        {
            throw new TokenRejectedException("the signer's keys can't be read", error) { IsSignerUnknown = true };
        }
    }

    internal static void CheckName(string name)
    {
        // The name comes from an unverified token and becomes part of a path.
        if (name is not { Length: > 0 and <= 64 } || !name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-'))
        {
            throw new TokenRejectedException("nobody of that name is enrolled");
        }
    }

    private sealed record Entry((DateTime, long) Stamp, VerificationKeys Keys);
}
