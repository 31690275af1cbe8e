using System.Globalization;
using System.Text.Json;
using Countersign.Policy.Bundles;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>
/// The highest bundle this proxy has enforced, and the highest one that policy's beacon named, on disk: an older one is refused after a restart too (I8).
/// Whoever restores policy on purpose deletes both files.
/// </summary>
internal sealed class HighestBundle
{
    private readonly string _path;
    private readonly string _promisePath;
    private long _promised;

    public HighestBundle(IOptions<ProxyOptions> options)
    {
        Directory.CreateDirectory(options.Value.Data, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _path = System.IO.Path.Combine(options.Value.Data, "highest-bundle.json");
        if (File.Exists(_path))
        {
            // Unreadable is not "none": a damaged file must not let an old bundle in.
            Mark = JsonSerializer.Deserialize<BundleMark>(File.ReadAllBytes(_path)) ?? throw new InvalidDataException($"{_path} is damaged.");
        }

        _promisePath = System.IO.Path.Combine(options.Value.Data, "highest-beacon");
        if (File.Exists(_promisePath))
        {
            _promised = long.TryParse(File.ReadAllText(_promisePath).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var version)
                ? version
                : throw new InvalidDataException($"{_promisePath} is damaged.");
        }
    }

    /// <summary>Null before the first.</summary>
    public BundleMark? Mark { get; private set; }

    /// <summary>The highest version heard of: enforced, or named by a beacon. 0 before the first.</summary>
    public long Version => Math.Max(Mark?.Version ?? 0, _promised);

    /// <summary>Remembers a version that policy's beacon named.</summary>
    public void Promise(long version)
    {
        if (version <= Version)
        {
            return;
        }

        Write(_promisePath, stream => stream.Write(System.Text.Encoding.ASCII.GetBytes(version.ToString(CultureInfo.InvariantCulture))));
        _promised = version;
    }

    /// <summary>Remembers a bundle before it is enforced.</summary>
    public void Raise(BundleMark mark)
    {
        if (mark == Mark)
        {
            return;
        }

        Write(_path, stream => JsonSerializer.Serialize(stream, mark));
        Mark = mark;
    }

    private static void Write(string path, Action<Stream> write)
    {
        var temporary = path + ".new";
        using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write))
        {
            write(stream);
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
    }
}
