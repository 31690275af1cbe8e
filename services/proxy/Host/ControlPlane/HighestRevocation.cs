using System.Globalization;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>
/// The last revocation this proxy has heard of, on disk: an identity service that was set back has forgotten revocations, and its word isn't taken after
/// a restart of the proxy either (I8). Whoever restores identity on purpose deletes the file.
/// </summary>
internal sealed class HighestRevocation
{
    private readonly string _path;

    public HighestRevocation(IOptions<ProxyOptions> options)
    {
        Directory.CreateDirectory(options.Value.Data, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _path = System.IO.Path.Combine(options.Value.Data, "highest-revocation");
        if (File.Exists(_path))
        {
            // Unreadable is not "none": a damaged file must not let an old feed in.
            Sequence = long.TryParse(File.ReadAllText(_path).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var sequence)
                ? sequence
                : throw new InvalidDataException($"{_path} is damaged.");
        }
    }

    /// <summary>Its number; null before the first word of identity.</summary>
    public long? Sequence { get; private set; }

    /// <summary>Remembers what the sessions were told of.</summary>
    public void Raise(long sequence)
    {
        if (sequence <= Sequence)
        {
            return;
        }

        var temporary = _path + ".new";
        using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write))
        {
            stream.Write(System.Text.Encoding.ASCII.GetBytes(sequence.ToString(CultureInfo.InvariantCulture)));
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, _path, overwrite: true);
        Sequence = sequence;
    }
}
