using System.Globalization;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>The highest bundle version this proxy has enforced, on disk: an older one is refused after a restart too (I8).</summary>
internal sealed class HighestVersion
{
    private readonly string _path;

    public HighestVersion(IOptions<ProxyOptions> options)
    {
        Directory.CreateDirectory(options.Value.Data, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _path = System.IO.Path.Combine(options.Value.Data, "highest-bundle-version");
        if (File.Exists(_path))
        {
            // Unreadable is not "none": a damaged file must not let an old bundle in.
            Value = long.Parse(File.ReadAllText(_path), NumberStyles.None, CultureInfo.InvariantCulture);
        }
    }

    /// <summary>0 before the first.</summary>
    public long Value { get; private set; }

    /// <summary>Remembers a version before it is enforced.</summary>
    public void Raise(long version)
    {
        if (version <= Value)
        {
            return;
        }

        var temporary = _path + ".new";
        using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write))
        {
            stream.Write(System.Text.Encoding.ASCII.GetBytes(version.ToString(CultureInfo.InvariantCulture)));
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, _path, overwrite: true);
        Value = version;
    }
}
