namespace Countersign.Platform.Embedded;

/// <summary>Files that only their owner may read.</summary>
public static class PrivateFiles
{
    private const UnixFileMode OwnerFile = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    internal const UnixFileMode OwnerDirectory = OwnerFile | UnixFileMode.UserExecute;

    /// <summary>Makes a directory with mode 0700 where there is none.</summary>
    public static void CreateDirectory(string path) => Directory.CreateDirectory(path, OwnerDirectory);

    /// <summary>Makes an empty file with mode 0600 where there is none.</summary>
    public static void CreateIfAbsent(string path)
    {
        if (File.Exists(path))
        {
            return;
        }

        try
        {
            using var stream = new FileStream(path, Options(FileMode.CreateNew));
        }
        catch (IOException) when (File.Exists(path))
        {
        }
    }

    /// <summary>Replaces a file as a whole (mode 0600): a reader sees the old or the new content, never a part; durable when it returns.</summary>
    public static void WriteAtomically(string path, ReadOnlySpan<byte> content)
    {
        CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        var temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (var stream = new FileStream(temporary, Options(FileMode.CreateNew)))
            {
                stream.Write(content);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    private static FileStreamOptions Options(FileMode mode) => new() { Mode = mode, Access = FileAccess.Write, UnixCreateMode = OwnerFile };
}
