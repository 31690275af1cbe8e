using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using NSec.Cryptography;

namespace Countersign.Recorder.Format;

/// <summary>A public key for notes: <c>name+hash+key</c> (C2SP signed-note), Ed25519 (RFC 8032).</summary>
public sealed class NoteVerifier
{
    private const byte Ed25519Type = 1;
    private readonly PublicKey _key;

    internal NoteVerifier(string name, PublicKey key)
    {
        Name = name;
        _key = key;
        KeyHash = HashOf(name, key.Export(KeyBlobFormat.RawPublicKey));
    }

    /// <summary>Name of the key; that of a log is its origin.</summary>
    public string Name { get; }

    /// <summary>First four bytes of SHA-256(name, newline, 0x01, key).</summary>
    public uint KeyHash { get; }

    /// <summary>Reads a key line.</summary>
    /// <exception cref="EntryFormatException">Not an Ed25519 verifier key.</exception>
    public static NoteVerifier Parse(string line)
    {
        ArgumentNullException.ThrowIfNull(line);
        var parts = line.Trim().Split('+', 3);
        try
        {
            if (parts.Length != 3 || !IsName(parts[0])
                || !uint.TryParse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var hash)
                || Convert.FromBase64String(parts[2]) is not { Length: 33 } blob || blob[0] != Ed25519Type)
            {
                throw new EntryFormatException("this is not an Ed25519 verifier key (name+hash+key)");
            }

            var verifier = new NoteVerifier(parts[0], PublicKey.Import(SignatureAlgorithm.Ed25519, blob.AsSpan(1), KeyBlobFormat.RawPublicKey));
            return verifier.KeyHash == hash ? verifier : throw new EntryFormatException("the hash of the verifier key is not that of its name and key");
        }
        catch (FormatException error)
        {
            throw new EntryFormatException("this is not an Ed25519 verifier key (name+hash+key)", error);
        }
    }

    /// <summary>The key line.</summary>
    public override string ToString()
    {
        byte[] blob = [Ed25519Type, .. _key.Export(KeyBlobFormat.RawPublicKey)];
        return $"{Name}+{KeyHash:x8}+{Convert.ToBase64String(blob)}";
    }

    internal bool Verify(ReadOnlySpan<byte> text, ReadOnlySpan<byte> signature) => SignatureAlgorithm.Ed25519.Verify(_key, text, signature);

    internal static bool IsName(string name) => name.Length is > 0 and <= 256 && !name.Any(c => char.IsWhiteSpace(c) || c == '+' || char.IsControl(c));

    private static uint HashOf(string name, byte[] key)
    {
        byte[] bytes = [.. Encoding.UTF8.GetBytes(name), (byte)'\n', Ed25519Type, .. key];
        return BinaryPrimitives.ReadUInt32BigEndian(SHA256.HashData(bytes));
    }
}

/// <summary>A private key for notes. Its text is a secret.</summary>
public sealed class NoteSigner : IDisposable
{
    private const string Prefix = "PRIVATE+KEY+";
    private readonly Key _key;

    private NoteSigner(string name, Key key)
    {
        _key = key;
        Verifier = new NoteVerifier(name, key.PublicKey);
    }

    /// <summary>The public part.</summary>
    public NoteVerifier Verifier { get; }

    /// <summary>A new key.</summary>
    /// <param name="name">Name of the key; no blanks and no plus.</param>
    public static NoteSigner Create(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return NoteVerifier.IsName(name) ? new NoteSigner(name, Key.Create(SignatureAlgorithm.Ed25519, Exportable))
            : throw new ArgumentException("A key's name has no blanks and no plus.", nameof(name));
    }

    /// <summary>Reads the secret text: <c>PRIVATE+KEY+name+hash+seed</c>, as Go's sumdb/note writes it.</summary>
    /// <exception cref="EntryFormatException">Not such a key. The message doesn't quote it.</exception>
    public static NoteSigner Parse(string secret)
    {
        ArgumentNullException.ThrowIfNull(secret);
        try
        {
            var parts = secret.Trim().StartsWith(Prefix, StringComparison.Ordinal) ? secret.Trim()[Prefix.Length..].Split('+', 3) : [];
            if (parts.Length != 3 || !NoteVerifier.IsName(parts[0]) || Convert.FromBase64String(parts[2]) is not { Length: 33 } blob || blob[0] != 1)
            {
                throw new EntryFormatException("this is not an Ed25519 signer key");
            }

            var signer = new NoteSigner(parts[0], Key.Import(SignatureAlgorithm.Ed25519, blob.AsSpan(1), KeyBlobFormat.RawPrivateKey, Exportable));
            CryptographicOperations.ZeroMemory(blob);
            return signer;
        }
        catch (FormatException)
        {
            throw new EntryFormatException("this is not an Ed25519 signer key");
        }
    }

    /// <summary>The secret text, for a file with mode 0600.</summary>
    public string ExportSecret()
    {
        byte[] blob = [1, .. _key.Export(KeyBlobFormat.RawPrivateKey)];
        return $"{Prefix}{Verifier.Name}+{Verifier.KeyHash:x8}+{Convert.ToBase64String(blob)}";
    }

    /// <summary>Signs a text, which must end with a newline.</summary>
    /// <returns>The note.</returns>
    public string Sign(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (!text.EndsWith('\n') || text.Any(c => c < ' ' && c != '\n'))
        {
            throw new ArgumentException("A note's text ends with a newline and has no control characters.", nameof(text));
        }

        Span<byte> blob = stackalloc byte[4 + 64];
        BinaryPrimitives.WriteUInt32BigEndian(blob, Verifier.KeyHash);
        SignatureAlgorithm.Ed25519.Sign(_key, Encoding.UTF8.GetBytes(text), blob[4..]);
        return $"{text}\n\u2014 {Verifier.Name} {Convert.ToBase64String(blob)}\n";
    }

    /// <inheritdoc/>
    public void Dispose() => _key.Dispose();

    private static KeyCreationParameters Exportable => new() { ExportPolicy = KeyExportPolicies.AllowPlaintextExport };
}

/// <summary>Reads signed notes (https://c2sp.org/signed-note).</summary>
public static class SignedNote
{
    /// <summary>Longest note accepted, in characters.</summary>
    public const int MaxLength = 1024 * 1024;

    /// <summary>The text of a note, if the key has signed it. Signatures of other keys (witnesses) are skipped.</summary>
    /// <exception cref="EntryFormatException">Not a note, or not signed by this key.</exception>
    public static string Open(string note, NoteVerifier verifier)
    {
        ArgumentNullException.ThrowIfNull(note);
        ArgumentNullException.ThrowIfNull(verifier);
        var split = note.LastIndexOf("\n\n", StringComparison.Ordinal);
        if (note.Length > MaxLength || split < 0 || !note.EndsWith('\n') || note.Any(c => c < ' ' && c != '\n'))
        {
            throw new EntryFormatException("this is not a signed note");
        }

        var text = note[..(split + 1)];
        var good = 0;
        foreach (var line in note[(split + 2)..^1].Split('\n'))
        {
            var parts = line.Split(' ');
            if (parts.Length != 3 || parts[0] != "\u2014" || !NoteVerifier.IsName(parts[1]) || !TryDecode(parts[2], out var blob))
            {
                throw new EntryFormatException("a signature line of the note is malformed");
            }

            if (parts[1] != verifier.Name || BinaryPrimitives.ReadUInt32BigEndian(blob) != verifier.KeyHash)
            {
                continue;
            }

            if (blob.Length != 4 + 64 || !verifier.Verify(Encoding.UTF8.GetBytes(text), blob.AsSpan(4)))
            {
                throw new EntryFormatException("the note's signature does not verify");
            }

            good++;
        }

        return good == 1 ? text : throw new EntryFormatException("the note is not signed by this key");
    }

    private static bool TryDecode(string base64, out byte[] blob)
    {
        blob = new byte[base64.Length];
        if (!Convert.TryFromBase64String(base64, blob, out var written) || written < 5)
        {
            return false;
        }

        blob = blob[..written];
        return Convert.ToBase64String(blob) == base64;
    }
}
