using System.Runtime.InteropServices;

namespace Countersign.Platform.Hosting;

/// <summary>What a process of Countersign writes is for its own user only: files that are made without a mode of their own too (the log's, SQLite's, their temporary ones).</summary>
internal static partial class FileModes
{
    private const uint OthersAndGroup = 0x3F;

    /// <summary>Sets the process's umask to 0077.</summary>
    public static void KeepToOwner()
    {
        if (!OperatingSystem.IsWindows())
        {
            _ = SetMask(OthersAndGroup);
        }
    }

    [LibraryImport("libc", EntryPoint = "umask")]
    private static partial uint SetMask(uint mask);
}
