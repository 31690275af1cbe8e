using System.Text.Json;
using System.Text.RegularExpressions;
using Countersign.Cli.Output;

namespace Countersign.Cli.Profiles;

/// <summary>One person at one server: a directory of 0600 files. Several profiles let one machine play several people.</summary>
internal sealed partial class Profile
{
    /// <summary>Longest wait for another process that is refreshing the tokens.</summary>
    private static readonly TimeSpan LockPatience = TimeSpan.FromSeconds(30);

    private readonly TimeProvider _time;

    private Profile(string name, string directory, TimeProvider time)
    {
        Name = name;
        Directory = directory;
        _time = time;
    }

    public string Name { get; }

    public string Directory { get; }

    private string SettingsPath => Path.Combine(Directory, "profile.json");

    private string RefreshTokenPath => Path.Combine(Directory, "refresh-token");

    private string AccessTokensPath => Path.Combine(Directory, "access-tokens.json");

    /// <exception cref="CliException">Not a name for a directory.</exception>
    public static Profile Open(CliHost host, string? name)
    {
        name ??= NonEmpty(host.Variable("COUNTERSIGN_PROFILE")) ?? "default";
        if (!NamePattern().IsMatch(name))
        {
            throw CliException.Usage($"'{TerminalText.Line(name)}' is not a profile name.", "Use up to 64 letters, digits, '-', '_' and '.', beginning with a letter or digit.");
        }

        return new Profile(name, Path.Combine(Root(host), "profiles", name), host.Time);
    }

    /// <summary>What is kept beside the tokens.</summary>
    public ProfileSettings ReadSettings() => Read<ProfileSettings>(SettingsPath) ?? new ProfileSettings(null);

    public void WriteSettings(ProfileSettings settings)
    {
        PrivateFile.CreateDirectory(Directory);
        PrivateFile.Write(SettingsPath, JsonSerializer.Serialize(settings, CliJson.Wire));
    }

    public string? ReadRefreshToken() => NonEmpty(PrivateFile.Read(RefreshTokenPath)?.Trim());

    public void WriteRefreshToken(string token)
    {
        PrivateFile.CreateDirectory(Directory);
        PrivateFile.Write(RefreshTokenPath, token);
    }

    public IReadOnlyDictionary<string, CachedToken> ReadAccessTokens() =>
        Read<Dictionary<string, CachedToken>>(AccessTokensPath) ?? [];

    public void WriteAccessTokens(IReadOnlyDictionary<string, CachedToken> tokens)
    {
        PrivateFile.CreateDirectory(Directory);
        PrivateFile.Write(AccessTokensPath, JsonSerializer.Serialize(tokens, CliJson.Wire));
    }

    /// <summary>Forgets the tokens; false where there were none.</summary>
    public bool Forget()
    {
        var had = File.Exists(RefreshTokenPath) || File.Exists(AccessTokensPath);
        if (had)
        {
            File.Delete(RefreshTokenPath);
            File.Delete(AccessTokensPath);
        }

        return had;
    }

    /// <summary>Whoever changes tokens holds this: a refresh token is good for one use, so two processes must not spend the same one.</summary>
    public Task<FileLock> LockAsync(CancellationToken cancellation)
    {
        PrivateFile.CreateDirectory(Directory);
        return FileLock.TakeAsync(Path.Combine(Directory, "lock"), LockPatience, _time, cancellation);
    }

    private static string Root(CliHost host)
    {
        if (NonEmpty(host.Variable("COUNTERSIGN_CONFIG")) is { } named)
        {
            return Path.GetFullPath(named);
        }

        var configuration = NonEmpty(host.Variable("XDG_CONFIG_HOME"));
        if (configuration is null || !Path.IsPathRooted(configuration))
        {
            var home = NonEmpty(host.Variable("HOME")) ?? throw CliException.Usage("There is no home directory to keep the login in.", "Set COUNTERSIGN_CONFIG to a directory.");
            configuration = Path.Combine(home, ".config");
        }

        return Path.Combine(configuration, "countersign");
    }

    private static T? Read<T>(string path)
        where T : class
    {
        var text = PrivateFile.Read(path);
        if (text is null)
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize<T>(text, CliJson.Wire);
        }
        catch (JsonException error)
        {
            throw CliException.Usage($"{path} is damaged.", "Run: countersign logout, then countersign login", error);
        }
    }

    private static string? NonEmpty(string? value) => string.IsNullOrWhiteSpace(value) ? null : value;

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\z", RegexOptions.CultureInvariant)]
    private static partial Regex NamePattern();
}

/// <summary>What a profile remembers beside its tokens.</summary>
/// <param name="Server">Base URL that the tokens belong to.</param>
internal sealed record ProfileSettings(string? Server);

/// <summary>An access token for one audience.</summary>
internal sealed record CachedToken(string Token, DateTimeOffset ExpiresAt)
{
    /// <summary>Never prints the token.</summary>
    public override string ToString() => $"CachedToken {{ {ExpiresAt:O} }}";
}
