using Countersign.Platform.Ports;

namespace Countersign.Platform.Embedded;

/// <summary>Secrets as files of mode 0600 in <c>&lt;data&gt;/secrets/</c>, one value each; a last line break is not part of it.</summary>
public sealed class FileSecrets(string directory) : ISecrets
{
    private const int MaxLength = 64 * 1024;
    private const UnixFileMode Others =
        UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;

    /// <inheritdoc/>
    public async ValueTask<string?> GetAsync(string name, CancellationToken cancellation)
    {
        SecretNames.Check(name);
        try
        {
            // The mode is that of the file that is read, also where another one takes its place meanwhile.
            using var file = File.OpenHandle(Path.Combine(directory, name), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            if (RandomAccess.GetLength(file) > MaxLength || (File.GetUnixFileMode(file) & Others) != 0)
            {
                throw new PortUnavailableException($"the secret {name} is too large, or others can read it");
            }

            using var reader = new StreamReader(new FileStream(file, FileAccess.Read, bufferSize: 0));
            return (await reader.ReadToEndAsync(cancellation)).TrimEnd('\r', '\n');
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new PortUnavailableException($"the secret {name} can't be read", error);
        }
    }
}

/// <summary>Credentials of targets as files of mode 0600 in <c>&lt;data&gt;/target-credentials/</c>, named as their connections.</summary>
public sealed class FileTargetSecrets(string directory) : ITargetSecrets
{
    private readonly FileSecrets _files = new(directory);

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyDictionary<string, string>?> GetAsync(string name, CancellationToken cancellation) =>
        await _files.GetAsync(name, cancellation) is { } text ? new Dictionary<string, string>(StringComparer.Ordinal) { [name] = text } : null;
}

/// <summary>Names of secrets.</summary>
public static class SecretNames
{
    /// <summary>Refuses what could mean something else as a path or in an address.</summary>
    /// <exception cref="ArgumentException">Not lower-case letters, digits and hyphens.</exception>
    public static void Check(string name)
    {
        if (name is not { Length: > 0 and <= 100 } || !name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-'))
        {
            throw new ArgumentException("A secret is named by lower-case letters, digits and hyphens.", nameof(name));
        }
    }
}
