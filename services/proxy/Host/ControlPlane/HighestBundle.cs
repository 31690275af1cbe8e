using System.Text.Json;
using Countersign.Policy.Bundles;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>The highest bundle this proxy has enforced, on disk: an older one is refused after a restart too (I8).</summary>
internal sealed class HighestBundle
{
    private readonly string _path;

    public HighestBundle(IOptions<ProxyOptions> options)
    {
        Directory.CreateDirectory(options.Value.Data, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _path = System.IO.Path.Combine(options.Value.Data, "highest-bundle.json");
        if (File.Exists(_path))
        {
            // Unreadable is not "none": a damaged file must not let an old bundle in.
            Mark = JsonSerializer.Deserialize<BundleMark>(File.ReadAllBytes(_path)) ?? throw new InvalidDataException($"{_path} is damaged.");
        }
    }

    /// <summary>Null before the first.</summary>
    public BundleMark? Mark { get; private set; }

    /// <summary>Remembers a bundle before it is enforced.</summary>
    public void Raise(BundleMark mark)
    {
        if (mark == Mark)
        {
            return;
        }

        var temporary = _path + ".new";
        using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write))
        {
            JsonSerializer.Serialize(stream, mark);
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, _path, overwrite: true);
        Mark = mark;
    }
}
