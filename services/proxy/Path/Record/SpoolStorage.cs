using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Countersign.Proxy.Path.Record;

/// <summary>The files of the spool, behind an interface so that tests can break them.</summary>
internal interface ISpoolStorage
{
    /// <summary>Names of the files, unordered.</summary>
    IReadOnlyList<string> List();

    /// <summary>A new file of the given size.</summary>
    ISpoolFile Create(string name, long size);

    /// <summary>An existing file.</summary>
    ISpoolFile Open(string name);

    /// <summary>Renames; durable when it returns.</summary>
    void Rename(string from, string to);

    /// <summary>Deletes; durable when it returns.</summary>
    void Delete(string name);
}

/// <summary>One file of the spool.</summary>
internal interface ISpoolFile : IDisposable
{
    /// <summary>Bytes.</summary>
    long Length { get; }

    /// <summary>Reads as much as there is; 0 at the end.</summary>
    int Read(Span<byte> buffer, long offset);

    /// <summary>Writes all; durable only after <see cref="Sync"/>.</summary>
    void Write(ReadOnlySpan<byte> data, long offset);

    /// <summary>Makes everything written durable. After it has thrown once nothing is known about what was written.</summary>
    void Sync();

    /// <summary>Cuts, durably.</summary>
    void Truncate(long length);
}

/// <summary>Real files.</summary>
internal sealed class DiskSpoolStorage : ISpoolStorage
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private readonly string _directory;
    private readonly bool _writeThrough;

    public DiskSpoolStorage(string directory, bool writeThrough)
    {
        _directory = System.IO.Path.GetFullPath(directory);
        _writeThrough = writeThrough;
        Directory.CreateDirectory(_directory, OwnerOnly | UnixFileMode.UserExecute);
    }

    public IReadOnlyList<string> List() => [.. Directory.EnumerateFiles(_directory).Select(path => System.IO.Path.GetFileName(path))];

    public ISpoolFile Create(string name, long size)
    {
        var file = new DiskSpoolFile(FullPath(name), Posix.OpenFile(FullPath(name), create: true, writeThrough: _writeThrough), _writeThrough);
        try
        {
            RandomAccess.SetLength(file.Handle, size);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public ISpoolFile Open(string name) =>
        new DiskSpoolFile(FullPath(name), Posix.OpenFile(FullPath(name), create: false, writeThrough: _writeThrough), _writeThrough);

    public void Rename(string from, string to)
    {
        File.Move(FullPath(from), FullPath(to), overwrite: false);
        Posix.SyncDirectory(_directory);
    }

    public void Delete(string name)
    {
        File.Delete(FullPath(name));
        Posix.SyncDirectory(_directory);
    }

    private string FullPath(string name) => System.IO.Path.Combine(_directory, name);
}

/// <summary>A real file. Written through (O_DSYNC), a write is durable when it returns, which saves a system call for every sync.</summary>
internal sealed class DiskSpoolFile(string path, SafeFileHandle handle, bool writeThrough) : ISpoolFile
{
    public SafeFileHandle Handle => handle;

    public long Length => RandomAccess.GetLength(handle);

    public int Read(Span<byte> buffer, long offset) => RandomAccess.Read(handle, buffer, offset);

    public void Write(ReadOnlySpan<byte> data, long offset) => RandomAccess.Write(handle, data, offset);

    public void Sync()
    {
        if (!writeThrough)
        {
            Posix.SyncData(handle, path);
        }
    }

    public void Truncate(long length)
    {
        RandomAccess.SetLength(handle, length);
        RandomAccess.FlushToDisk(handle);
    }

    public void Dispose() => handle.Dispose();
}

/// <summary>What .NET has no name for: O_DSYNC, fdatasync and the sync of a directory.</summary>
internal static class Posix
{
    private const int ReadOnly = 0;
    private const int ReadWrite = 2;
    private const int Create = 0x40;
    private const int Exclusive = 0x80;
    private const int CloseOnExec = 0x80000;
    private const int DataSync = 0x1000;

    // O_DIRECTORY differs between architectures; a directory opened for reading needs no such flag.
    public static SafeFileHandle OpenFile(string path, bool create, bool writeThrough)
    {
        var flags = ReadWrite | CloseOnExec | (create ? Create | Exclusive : 0) | (writeThrough ? DataSync : 0);
        return new SafeFileHandle(Open(path, flags), ownsHandle: true);
    }

    public static void SyncData(SafeFileHandle handle, string path)
    {
        if (NativeSyncData((int)handle.DangerousGetHandle()) != 0)
        {
            throw Error("fdatasync", path);
        }
    }

    public static void SyncDirectory(string path)
    {
        using var handle = new SafeFileHandle(Open(path, ReadOnly | CloseOnExec), ownsHandle: true);
        if (NativeSync((int)handle.DangerousGetHandle()) != 0)
        {
            throw Error("fsync", path);
        }
    }

    /// <summary>
    /// Asks for the processor before other threads do: sessions wait for what the calling thread does, and it does little. Only where the process may; else
    /// nothing changes.
    /// </summary>
    public static void PreferThisThread()
    {
        if (OperatingSystem.IsLinux())
        {
            // .NET's priorities do nothing on Linux. 0 is the calling thread.
            _ = NativeSetPriority(0, 0, -10);
        }
    }

    private static IntPtr Open(string path, int flags)
    {
        byte[] bytes = [.. Encoding.UTF8.GetBytes(path), 0];
        int descriptor;
        do
        {
            descriptor = NativeOpen(bytes, flags, 0b110_000_000);
        }
        while (descriptor < 0 && Marshal.GetLastPInvokeError() == 4);
        return descriptor >= 0 ? descriptor : throw Error("open", path);
    }

    private static IOException Error(string what, string path) =>
        new($"{what} of {System.IO.Path.GetFileName(path)} failed: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");

#pragma warning disable SYSLIB1054, CA5392 // blittable arguments: nothing to generate; libc is not looked up in a folder
    [DllImport("libc", EntryPoint = "open", SetLastError = true)]
    private static extern int NativeOpen(byte[] path, int flags, int mode);

    [DllImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static extern int NativeSyncData(int descriptor);

    [DllImport("libc", EntryPoint = "setpriority")]
    private static extern int NativeSetPriority(int which, int who, int niceness);

    [DllImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static extern int NativeSync(int descriptor);
#pragma warning restore SYSLIB1054, CA5392
}
