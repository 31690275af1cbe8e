using System.Text;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Log;

/// <summary>
/// The highest checkpoint that this recorder has made known, in a file away from the log's own storage: a log that was set back together with its storage (a
/// restored backup, a failover that lost commits) still finds out, and must not go on, since it would sign another history under the same name.
/// </summary>
/// <param name="path">The file; null for none.</param>
/// <param name="pinned">Files with checkpoints that somebody else has kept.</param>
/// <param name="verifier">Key of the log.</param>
internal sealed class HighestCheckpoint(string? path, IReadOnlyList<string> pinned, NoteVerifier verifier)
{
    private long _size = -1;

    /// <summary>All checkpoints that the log must contain.</summary>
    /// <exception cref="LogFailedException">A file holds none of this log: unreadable isn't "none".</exception>
    public IReadOnlyList<Checkpoint> Load()
    {
        var found = new List<Checkpoint>();
        foreach (var file in pinned)
        {
            found.Add(Read(file));
        }

        if (path is not null && File.Exists(path))
        {
            var own = Read(path);
            _size = own.Size;
            found.Add(own);
        }

        return found;
    }

    /// <summary>Remembers a checkpoint, before anybody is shown it; durable when it returns.</summary>
    public void Raise(string note, Checkpoint checkpoint)
    {
        if (path is null || checkpoint.Size <= _size)
        {
            return;
        }

        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        Durable.Replace(path, Encoding.UTF8.GetBytes(note));
        _size = checkpoint.Size;
    }

    private Checkpoint Read(string file)
    {
        try
        {
            return Checkpoint.Open(File.ReadAllText(file), verifier);
        }
        catch (Exception error) when (error is EntryFormatException or IOException or UnauthorizedAccessException)
        {
            throw new LogFailedException($"{file} holds no checkpoint of this log", error);
        }
    }
}
