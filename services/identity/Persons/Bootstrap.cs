using System.Security.Cryptography;
using System.Text;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Persons;

/// <summary>
/// How the first person comes to be (I3): a one-time token in a 0600 file names them; they may act alone until a second person is enrolled; then it is
/// closed for good. Only who can write files on the host can reopen it, and that is recorded as break-glass.
/// </summary>
/// <param name="store">Identity's state.</param>
/// <param name="path">Path of the token file.</param>
public sealed class Bootstrap(IStateStore store, string path)
{
    /// <summary>Shortest token that is accepted from a file that an operator wrote.</summary>
    public const int MinTokenLength = 26;

    private const int MaxFileLength = 1024;
    private const string Key = "state";
    private const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private readonly Documents<BootstrapState> _states = new(store, "bootstrap");

    /// <summary>Path of the token file.</summary>
    public string Path => path;

    /// <summary>Makes the token file where nobody is first yet; finds out whether the host reopened bootstrap.</summary>
    public async ValueTask<BootstrapStart> StartAsync(CancellationToken cancellation)
    {
        var state = await _states.FindAsync(Key, cancellation);
        if (state?.First is null)
        {
            // One token for all replicas: the one that notes it first writes it, and any of them takes it. Where its file was lost, the same host makes another.
            if (File.Exists(path))
            {
                await IssueAsync(ReadToken(), cancellation);
            }
            else if (state?.Issued is null || state.IssuedBy == Here)
            {
                var token = Ids.Base32(52);
                if (await IssueAsync(token, cancellation))
                {
                    Write(token);
                }
            }

            return BootstrapStart.Waiting;
        }

        if (!File.Exists(path))
        {
            return BootstrapStart.Used;
        }

        if (ReadToken() is not { } token || Hash(token) == state.UsedToken)
        {
            // The token was used and a crash came before the file was gone.
            File.Delete(path);
            return BootstrapStart.Used;
        }

        await _states.ChangeAsync(
            Key, known => known is null || (known.Reopened && known.Issued == Hash(token)) ? null : known with { Reopened = true, Issued = Hash(token), IssuedBy = Here }, cancellation);
        return BootstrapStart.Reopened;
    }

    /// <summary>The first person where their enrolment might have been lost in a crash.</summary>
    public async ValueTask<string?> FirstAsync(CancellationToken cancellation) => (await _states.FindAsync(Key, cancellation))?.First;

    /// <summary>Uses the token: this person is the first.</summary>
    /// <exception cref="IdentityException">Closed, or the wrong token.</exception>
    public async ValueTask UseAsync(string token, string person, CancellationToken cancellation)
    {
        // The file of this host, else the token that another replica's host has.
        var own = ReadToken() is { } written ? Hash(written) : null;
        var used = await _states.ChangeAsync(
            Key,
            known =>
            {
                if (known?.First is not null && !known.Reopened)
                {
                    throw new IdentityException(409, "bootstrap-closed", "The first person is there already. Reopening needs the host.");
                }

                // Compared even where there is none, so that the answer takes as long.
                var expected = own ?? known?.Issued;
                var matches = CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(Hash(token)), Encoding.ASCII.GetBytes(expected ?? Hash("")));
                if (expected is null || !matches || token.Length < MinTokenLength)
                {
                    throw new IdentityException(403, "bootstrap-token-wrong", "This is not the bootstrap token.");
                }

                return new BootstrapState(person, Closed: false, UsedToken: Hash(token), Reopened: false);
            },
            cancellation);
        if (used is not null)
        {
            File.Delete(path);
        }
    }

    /// <summary>Whether this person is the first one and may still act alone.</summary>
    public async ValueTask<bool> IsOpenForAsync(string person, CancellationToken cancellation)
        => await _states.FindAsync(Key, cancellation) is { Closed: false } state && state.First == person;

    /// <summary>Ends acting alone: a second person is about to be enrolled.</summary>
    /// <param name="enrolled">Who is enrolled; the first person's own enrolment closes nothing.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    public async ValueTask CloseAsync(string enrolled, CancellationToken cancellation)
        => await _states.ChangeAsync(Key, known => known is null || known.Closed || known.First == enrolled ? null : known with { Closed = true }, cancellation);

    private string Here => $"{Environment.MachineName}:{System.IO.Path.GetFullPath(path)}";

    // False where another replica has made one meanwhile.
    private async ValueTask<bool> IssueAsync(string? token, CancellationToken cancellation)
    {
        if (token is null)
        {
            return false;
        }

        var mine = Hash(token);
        var seen = (await _states.FindAsync(Key, cancellation))?.Issued;
        return seen == mine || await _states.ChangeAsync(
            Key,
            known => known?.First is not null || known?.Issued != seen
                ? null
                : (known ?? new BootstrapState(null, Closed: false, UsedToken: null, Reopened: false)) with { Issued = mine, IssuedBy = Here },
            cancellation) is not null;
    }

    private static string Hash(string token) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(token)));

    private string? ReadToken()
    {
        var file = new FileInfo(path);
        if (!file.Exists || file.Length > MaxFileLength)
        {
            return null;
        }

        if (!OperatingSystem.IsWindows() && (file.UnixFileMode & ~Owner) != 0)
        {
            throw new IdentityException(409, "bootstrap-token-exposed", "The bootstrap token's file must have mode 0600; others may have read it.");
        }

        var token = File.ReadAllText(path).Trim();
        return token.Length >= MinTokenLength ? token : null;
    }

    private void Write(string token)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!);
        var temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        using (var stream = new FileStream(temporary, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = Owner }))
        {
            stream.Write(Encoding.ASCII.GetBytes(token + "\n"));
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
    }

    private sealed record BootstrapState(string? First, bool Closed, string? UsedToken, bool Reopened)
    {
        /// <summary>Hash of the token that waits in a file of one of the replicas' hosts.</summary>
        public string? Issued { get; init; }

        /// <summary>Which host that is.</summary>
        public string? IssuedBy { get; init; }
    }
}

/// <summary>What bootstrap found at start.</summary>
public enum BootstrapStart
{
    /// <summary>Nobody is first yet; the token file waits.</summary>
    Waiting,
    /// <summary>The token was used.</summary>
    Used,
    /// <summary>Somebody on the host wrote a new token: break-glass.</summary>
    Reopened,
}
