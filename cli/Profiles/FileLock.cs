namespace Countersign.Cli.Profiles;

/// <summary>
/// One process at a time: an advisory lock (flock) on a file of its own. The kernel gives it back when its holder ends, however it ends.
/// </summary>
internal sealed class FileLock : IDisposable
{
    private readonly FileStream _stream;

    private FileLock(FileStream stream) => _stream = stream;

    /// <exception cref="CliException">Somebody else held it all the time.</exception>
    public static async Task<FileLock> TakeAsync(string path, TimeSpan patience, TimeProvider time, CancellationToken cancellation)
    {
        var started = time.GetTimestamp();
        while (true)
        {
            try
            {
                return new FileLock(new FileStream(path, new FileStreamOptions
                {
                    Mode = FileMode.OpenOrCreate,
                    Access = FileAccess.ReadWrite,
                    Share = FileShare.None,
                    UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                }));
            }
            catch (IOException error) when (error is not (FileNotFoundException or DirectoryNotFoundException or PathTooLongException))
            {
                if (time.GetElapsedTime(started) > patience)
                {
                    throw new CliException(ExitCodes.Unavailable, $"Another countersign process holds {path}.", "Try again when it has ended.", "locked", error);
                }

                await Task.Delay(TimeSpan.FromMilliseconds(20), cancellation);
            }
        }
    }

    public void Dispose() => _stream.Dispose();
}
