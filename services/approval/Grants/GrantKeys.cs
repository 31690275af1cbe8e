using System.Text.Json;
using Countersign.Platform.Tokens;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Approval.Grants;

/// <summary>
/// The key that signs grants, and the public parts of its predecessors: a grant over a bundle lives as long as the bundle, so it must still verify
/// after a rotation. The private part of a predecessor is gone.
/// </summary>
/// <remarks>Files: <c>approval.key</c> (PKCS#8 PEM, 0600) and <c>approval.previous.jwks.json</c>, newest first.</remarks>
public sealed class GrantKeys : IDisposable
{
    /// <summary>How many predecessors are kept.</summary>
    public const int MaxPrevious = 32;

    private readonly string _directory;
    private readonly Action<string> _publish;
    private readonly Lock _gate = new();
    private readonly SigningKey _first;
    private SigningKey _current;
    private IReadOnlyList<JsonWebKey> _previous;

    /// <summary>Keys of a directory.</summary>
    /// <param name="current">The key in <c>approval.key</c>, as the process loaded it.</param>
    /// <param name="directory">Where the files are.</param>
    /// <param name="publish">Makes the JWK set known to those who verify; called before a new key signs anything.</param>
    public GrantKeys(SigningKey current, string directory, Action<string> publish)
    {
        ArgumentNullException.ThrowIfNull(current);
        ArgumentNullException.ThrowIfNull(publish);
        _first = current;
        _current = current;
        _directory = directory;
        _publish = publish;
        _previous = ReadPrevious(PreviousPath, current.KeyId);
    }

    /// <summary>Id of the key that signs now.</summary>
    public string KeyId
    {
        get
        {
            lock (_gate)
            {
                return _current.KeyId;
            }
        }
    }

    /// <summary>When the current key was made.</summary>
    public DateTimeOffset CreatedAt => File.GetLastWriteTimeUtc(CurrentPath);

    private string CurrentPath => Path.Combine(_directory, "approval.key");

    private string PreviousPath => Path.Combine(_directory, "approval.previous.jwks.json");

    /// <summary>All keys that verify grants, the current one first.</summary>
    public VerificationKeys Public()
    {
        lock (_gate)
        {
            return new VerificationKeys([_current.PublicKey, .. _previous]);
        }
    }

    /// <summary>Makes the key set known.</summary>
    public void Publish() => _publish(Public().ToJson());

    /// <summary>Signs with the current key.</summary>
    public string Sign<TClaims>(string type, TClaims claims)
    {
        lock (_gate)
        {
            return _current.Sign(type, claims);
        }
    }

    /// <summary>Replaces the current key. What the old one signed still verifies.</summary>
    public void Rotate()
    {
        lock (_gate)
        {
            var nextPath = CurrentPath + ".next";
            var next = SigningKey.LoadOrCreate(nextPath);
            IReadOnlyList<JsonWebKey> previous = [_current.PublicKey, .. _previous.Take(MaxPrevious - 1)];
            // Each step leaves files with which every signature verifies: the old key is among the previous ones before it is replaced, and the
            // new one is known before it signs.
            WriteAtomically(PreviousPath, new VerificationKeys(previous).ToJson());
            _publish(new VerificationKeys([next.PublicKey, .. previous]).ToJson());
            File.Move(nextPath, CurrentPath, overwrite: true);
            if (!ReferenceEquals(_current, _first))
            {
                _current.Dispose();
            }

            _current = next;
            _previous = previous;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            // The first one belongs to whoever loaded it.
            if (!ReferenceEquals(_current, _first))
            {
                _current.Dispose();
            }
        }
    }

    private static IReadOnlyList<JsonWebKey> ReadPrevious(string path, string current)
    {
        if (!File.Exists(path))
        {
            return [];
        }

        try
        {
            return [.. new JsonWebKeySet(File.ReadAllText(path)).Keys.Where(key => key.KeyId != current).Take(MaxPrevious)];
        }
        catch (Exception error) when (error is ArgumentException or JsonException)
        {
            throw new InvalidDataException($"{path} is not a JWK set.", error);
        }
    }

    private static void WriteAtomically(string path, string text)
    {
        var temporary = $"{path}.{Guid.NewGuid():N}";
        using (var stream = new FileStream(temporary, new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        }))
        {
            stream.Write(System.Text.Encoding.UTF8.GetBytes(text));
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
    }
}
