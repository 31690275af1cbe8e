using System.Collections.Concurrent;
using System.Text;
using Countersign.Platform.Tokens;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Platform.Embedded;

/// <summary>
/// Enrolled public keys of services that run on several machines: a folder for each app id, with one JWK set for each of its instances. Each
/// service may write in its own folder only, or in none where an operator enrols keys; all may read all. A key is never taken from a network.
/// </summary>
public sealed class TrustFolder : ITrustedKeys
{
    private const int MaxFileLength = 64 * 1024;
    private const int MaxFiles = 4096;

    // What was read this soon after it was written may have changed once more within the same tick of the file system's clock: files by one as long, the folder by one more.
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan Settled = TimeSpan.FromSeconds(2);
    private const string Ending = ".jwks.json";
    private readonly string _directory;
    private readonly string _instance;
    private readonly ConcurrentDictionary<string, Entry> _cache = new(StringComparer.Ordinal);

    /// <summary>Reads from a folder.</summary>
    /// <param name="directory">The folder.</param>
    /// <param name="instance">Name of this process among those of its app id.</param>
    public TrustFolder(string directory, string instance)
    {
        if (instance is not { Length: > 0 and <= 64 } || !instance.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_'))
        {
            throw new ArgumentException("An instance is named by letters, digits, hyphens and underscores.", nameof(instance));
        }

        _directory = directory;
        _instance = instance;
    }

    /// <inheritdoc/>
    public ValueTask<VerificationKeys> GetAsync(string issuer, CancellationToken cancellation)
    {
        FileTrustedKeys.CheckName(issuer);
        var folder = new DirectoryInfo(Path.Combine(_directory, issuer));
        if (!folder.Exists)
        {
            throw new TokenRejectedException("nobody of that name is enrolled") { IsSignerUnknown = true };
        }

        // Files are replaced as a whole, which changes the folder.
        var stamp = folder.LastWriteTimeUtc;
        if (_cache.TryGetValue(issuer, out var kept) && kept.Stamp == stamp && kept.Read - stamp > Tick)
        {
            return ValueTask.FromResult(kept.Keys);
        }

        try
        {
            var now = DateTime.UtcNow;
            var files = folder.EnumerateFiles("*" + Ending).Take(MaxFiles + 1).ToList();
            if (files.Count is 0 or > MaxFiles || files.Any(file => file.Length > MaxFileLength))
            {
                throw new TokenRejectedException("nobody of that name is enrolled") { IsSignerUnknown = true };
            }

            // Only what is new is read: while many instances start, the folder changes with each of them.
            var known = kept?.Files ?? [];
            KeyFile Read(FileInfo file)
            {
                var at = (file.LastWriteTimeUtc, file.Length);
                return known.TryGetValue(file.Name, out var old) && old.At == at && old.Read - at.LastWriteTimeUtc > Settled
                    ? old
                    : new KeyFile(at, now, VerificationKeys.FromJson(File.ReadAllText(file.FullName)).Keys);
            }

            var read = files.ToDictionary(file => file.Name, Read, StringComparer.Ordinal);
            var keys = new VerificationKeys(read.Values.SelectMany(file => file.Keys).DistinctBy(key => key.KeyId));
            _cache[issuer] = new Entry(stamp, now, keys, read);
            return ValueTask.FromResult(keys);
        }
        catch (Exception error) when (error is ArgumentException or IOException or UnauthorizedAccessException)
        {
            throw new TokenRejectedException("the signer's keys can't be read", error) { IsSignerUnknown = true };
        }
    }

    /// <summary>Enrols the key set of this instance; where the folder is read-only, its keys must be there already.</summary>
    /// <exception cref="InvalidOperationException">They aren't; says what an operator must do.</exception>
    internal void Publish(string appId, string jwks)
    {
        FileTrustedKeys.CheckName(appId);
        var path = Path.Combine(_directory, appId, _instance + Ending);
        try
        {
            // Readable by the other services, unlike everything else that this process writes.
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            if (File.Exists(path) && File.ReadAllText(path) == jwks)
            {
                // A restart enrols nothing new, and need not make everybody read the folder again.
                return;
            }

            var temporary = $"{path}.{Guid.NewGuid():N}.tmp";
            File.WriteAllText(temporary, jwks, Encoding.ASCII);
            File.Move(temporary, path, overwrite: true);
            _cache.TryRemove(appId, out _);
        }
        catch (Exception error) when (error is UnauthorizedAccessException or IOException)
        {
            if (!IsEnrolled(appId, jwks))
            {
                throw new InvalidOperationException($"The key of {appId} is not enrolled and {path} can't be written: put this there and start again: {jwks}", error);
            }
        }
    }

    private bool IsEnrolled(string appId, string jwks)
    {
        try
        {
            // The one that signs, which comes first: an operator may have taken away predecessors that nothing needs any more.
            var current = VerificationKeys.FromJson(jwks).Keys[0].KeyId;
            return GetAsync(appId, CancellationToken.None).AsTask().GetAwaiter().GetResult().Keys.Any(key => key.KeyId == current);
        }
        catch (TokenRejectedException)
        {
            return false;
        }
    }

    private sealed record Entry(DateTime Stamp, DateTime Read, VerificationKeys Keys, Dictionary<string, KeyFile> Files);

    private sealed record KeyFile((DateTime LastWriteTimeUtc, long Length) At, DateTime Read, IReadOnlyList<JsonWebKey> Keys);
}

/// <summary>Makes the public keys of this process known to the others.</summary>
public sealed class KeyEnrolment(string keys, TrustFolder? trust)
{
    /// <summary>Replaces the key set of a service of this process as a whole.</summary>
    /// <param name="appId">App id.</param>
    /// <param name="jwks">JWK set with public members only, the key that signs first.</param>
    public void Publish(string appId, string jwks)
    {
        if (trust is not null)
        {
            trust.Publish(appId, jwks);
        }
        else
        {
            PrivateFiles.WriteAtomically(FileTrustedKeys.PathOf(keys, appId), Encoding.UTF8.GetBytes(jwks));
        }
    }
}
