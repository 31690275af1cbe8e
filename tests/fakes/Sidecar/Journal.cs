using System.Text;

namespace Countersign.Fakes.Sidecar;

/// <summary>
/// What the double's backends (broker, state store, scheduler) would have kept while sidecars come and go: an append-only file of puts and removals, by
/// kind and key. It survives the end of the process, not of the machine.
/// </summary>
internal sealed class Journal : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<(string Kind, string Key), byte[]> _items = [];
    private readonly FileStream? _file;

    public Journal(string? path)
    {
        if (path is null)
        {
            return;
        }

        if (File.Exists(path))
        {
            foreach (var line in File.ReadLines(path))
            {
                // A torn last line is what a kill leaves: never acknowledged to anybody.
                if (line.Split('\t') is [var kind, var key, var value, "."])
                {
                    Apply(kind, Text(key), value == "-" ? null : Convert.FromBase64String(value));
                }
            }
        }

        var fresh = path + ".new";
        using (var compact = new FileStream(fresh, FileMode.Create))
        {
            foreach (var ((kind, key), value) in _items)
            {
                compact.Write(Line(kind, key, value));
            }
        }

        File.Move(fresh, path, overwrite: true);
        _file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read);
    }

    public IReadOnlyList<(string Key, byte[] Value)> Of(string kind)
    {
        lock (_gate)
        {
            return [.. _items.Where(item => item.Key.Kind == kind).Select(item => (item.Key.Key, item.Value))];
        }
    }

    public void Put(string kind, string key, byte[] value) => Write(kind, key, value);

    public void Remove(string kind, string key) => Write(kind, key, null);

    public void Dispose()
    {
        lock (_gate)
        {
            _file?.Dispose();
        }
    }

    private void Write(string kind, string key, byte[]? value)
    {
        if (_file is null)
        {
            return;
        }

        lock (_gate)
        {
            Apply(kind, key, value);
            if (_file.CanWrite)
            {
                _file.Write(Line(kind, key, value));
                _file.Flush();
            }
        }
    }

    private void Apply(string kind, string key, byte[]? value)
    {
        if (value is null)
        {
            _items.Remove((kind, key));
        }
        else
        {
            _items[(kind, key)] = value;
        }
    }

    private static byte[] Line(string kind, string key, byte[]? value) => Encoding.ASCII.GetBytes(
        $"{kind}\t{Convert.ToBase64String(Encoding.UTF8.GetBytes(key))}\t{(value is null ? "-" : Convert.ToBase64String(value))}\t.\n");

    private static string Text(string base64) => Encoding.UTF8.GetString(Convert.FromBase64String(base64));
}
