using System.Text;

namespace Countersign.Cli.Profiles;

/// <summary>Files for the owner's eyes only: mode 0600 from their first byte, replaced whole, refused where others can read them.</summary>
internal static class PrivateFile
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode Others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;

    /// <summary>Largest file that is read, in bytes: tokens and certificates are small.</summary>
    private const int Largest = 1024 * 1024;

    /// <summary>Makes a directory with mode 0700, and its parents.</summary>
    public static void CreateDirectory(string path) =>
        Directory.CreateDirectory(path, OwnerOnly | UnixFileMode.UserExecute);

    /// <summary>Replaces the file at once: a reader sees the old or the new content, never a part.</summary>
    public static void Write(string path, string content)
    {
        var temporary = $"{path}.{Guid.NewGuid():N}";
        try
        {
            using (var stream = Create(temporary))
            {
                stream.Write(Encoding.UTF8.GetBytes(content));
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

    /// <summary>A new file; one that is there already, also a link, is an error.</summary>
    public static FileStream Create(string path) => new(path, new FileStreamOptions
    {
        Mode = FileMode.CreateNew,
        Access = FileAccess.Write,
        UnixCreateMode = OwnerOnly,
    });

    /// <summary>Content, or null where there is no such file.</summary>
    /// <exception cref="CliException">Others can read or write it.</exception>
    public static string? Read(string path)
    {
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            if ((File.GetUnixFileMode(stream.SafeFileHandle) & Others) != 0)
            {
                throw CliException.Usage($"{path} can be read or changed by others, so it is not used.", $"Run: chmod 600 '{path}'");
            }

            if (stream.Length > Largest)
            {
                throw CliException.Usage($"{path} is too large to be what it should be.");
            }

            using var reader = new StreamReader(stream, Encoding.UTF8);
            return reader.ReadToEnd();
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }
}
