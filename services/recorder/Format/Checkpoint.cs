using System.Globalization;

namespace Countersign.Recorder.Format;

/// <summary>A head of the log (https://c2sp.org/tlog-checkpoint): origin, size and root hash.</summary>
/// <param name="Origin">Name of the log; also the name of its key.</param>
/// <param name="Size">Entries in the log.</param>
/// <param name="Root">RFC 6962 root hash.</param>
public sealed record Checkpoint(string Origin, long Size, Hash256 Root)
{
    /// <summary>The text that is signed.</summary>
    public string ToText() => string.Create(CultureInfo.InvariantCulture, $"{Origin}\n{Size}\n{Convert.ToBase64String(Root.ToArray())}\n");

    /// <summary>Signs it. The key's name must be the origin.</summary>
    public string Sign(NoteSigner signer)
    {
        ArgumentNullException.ThrowIfNull(signer);
        return signer.Verifier.Name == Origin ? signer.Sign(ToText()) : throw new ArgumentException("The key is that of another log.", nameof(signer));
    }

    /// <summary>Reads a checkpoint that this key has signed.</summary>
    /// <exception cref="EntryFormatException">It isn't one.</exception>
    public static Checkpoint Open(string note, NoteVerifier verifier)
    {
        ArgumentNullException.ThrowIfNull(verifier);
        var lines = SignedNote.Open(note, verifier).Split('\n');
        var root = new byte[Hash256.Size];
        if (lines.Length < 4 || lines[0] != verifier.Name || !long.TryParse(lines[1], NumberStyles.None, CultureInfo.InvariantCulture, out var size)
            || lines[1] != size.ToString(CultureInfo.InvariantCulture)
            || !Convert.TryFromBase64String(lines[2], root, out var written) || written != Hash256.Size || lines[2] != Convert.ToBase64String(root))
        {
            throw new EntryFormatException("this is not a checkpoint of this log");
        }

        return new Checkpoint(lines[0], size, Hash256.From(root));
    }
}
