using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>Tiles in files, as tlog-tiles names them (https://c2sp.org/tlog-tiles): any static web server can show them.</summary>
/// <param name="root">Folder that has <c>tile/</c>.</param>
internal sealed class FileTiles(string root) : ITileStorage
{
    private readonly Lock _gate = new();
    private readonly HashSet<string> _unsynced = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _partials = new(StringComparer.Ordinal);

    public byte[]? Read(int level, long tile)
    {
        var path = Path.Combine(root, Tiles.HashPath(level, tile));
        return File.Exists(path) ? File.ReadAllBytes(path) : null;
    }

    public void Write(int level, long tile, ReadOnlySpan<byte> hashes) => Write(Tiles.HashPath(level, tile), hashes);

    public void WriteBundle(long tile, ReadOnlySpan<byte> bundle) => Write(Tiles.EntriesPath(tile), bundle);

    public void WritePartial(int level, long tile, int width, ReadOnlySpan<byte> hashes) =>
        WritePartial(Tiles.HashPath(level, tile), Tiles.HashPath(level, tile, width), hashes);

    public void WritePartialBundle(long tile, int width, ReadOnlySpan<byte> bundle) => WritePartial(Tiles.EntriesPath(tile), Tiles.EntriesPath(tile, width), bundle);

    public void Sync()
    {
        string[] paths;
        lock (_gate)
        {
            paths = [.. _unsynced];
            _unsynced.Clear();
        }

        foreach (var path in paths)
        {
            using var handle = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            Durable.Data(handle);
        }

        foreach (var directory in paths.Select(path => Path.GetDirectoryName(path)!).Distinct(StringComparer.Ordinal))
        {
            Durable.Directory(directory);
        }
    }

    // A file that is cut to nothing first is written back when it is closed (ext4), and nobody needs that here.
    private static void WriteWhole(string path, ReadOnlySpan<byte> bytes)
    {
        if (File.Exists(path))
        {
            File.WriteAllBytes(path, bytes);
            return;
        }

        using var handle = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write);
        RandomAccess.Write(handle, bytes, 0);
    }

    private void Write(string relative, ReadOnlySpan<byte> bytes)
    {
        var path = Path.Combine(root, relative);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        WriteWhole(path, bytes);
        lock (_gate)
        {
            _unsynced.Add(path);
            _partials.Remove(relative);
        }

        var partials = path + ".p";
        if (Directory.Exists(partials))
        {
            Directory.Delete(partials, recursive: true);
        }
    }

    // The one before stays until its tile is full or a second one replaces it: somebody may just be reading the checkpoint before.
    private void WritePartial(string tile, string relative, ReadOnlySpan<byte> bytes)
    {
        var path = Path.Combine(root, relative);
        if (File.Exists(path))
        {
            return;
        }

        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, bytes);
        lock (_gate)
        {
            foreach (var old in Directory.GetFiles(Path.GetDirectoryName(path)!))
            {
                if (old != path && (!_partials.TryGetValue(tile, out var previous) || old != previous))
                {
                    File.Delete(old);
                }
            }

            _partials[tile] = path;
        }
    }
}
