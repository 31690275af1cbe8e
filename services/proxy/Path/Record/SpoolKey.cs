using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Countersign.Proxy.Path.Record;

/// <summary>The proxy's key for its spool, in a file with mode 0600, and the keys of sessions that are wrapped with it.</summary>
internal sealed class SpoolKey : IDisposable
{
    /// <summary>Bytes of a wrapped key: nonce(12), key(32), tag(16).</summary>
    public const int WrappedSize = NonceSize + KeySize + TagSize;
    public const int KeySize = 32;
    public const int TagSize = 16;
    private const int NonceSize = 12;

    private readonly Lock _gate = new();
    private readonly AesGcm _key;

    private SpoolKey(byte[] key)
    {
        _key = new AesGcm(key, TagSize);
        CryptographicOperations.ZeroMemory(key);
    }

    /// <summary>Reads the key file, or makes it.</summary>
    /// <exception cref="InvalidDataException">Readable by others, or not a key.</exception>
    public static SpoolKey LoadOrCreate(string path)
    {
        if (!File.Exists(path))
        {
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            var temporary = path + ".tmp";
            File.Delete(temporary);
            var options = new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            };
            using (var stream = new FileStream(temporary, options))
            {
                stream.Write(RandomNumberGenerator.GetBytes(KeySize));
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: false);
            Posix.SyncDirectory(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!);
        }

        const UnixFileMode Others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        if ((File.GetUnixFileMode(path) & Others) != 0)
        {
            throw new InvalidDataException($"{path} is readable by others; a key must have mode 0600.");
        }

        var key = File.ReadAllBytes(path);
        return key.Length == KeySize ? new SpoolKey(key) : throw new InvalidDataException($"{path} is not a spool key.");
    }

    /// <summary>A key in memory only, for tests. The bytes are wiped.</summary>
    public static SpoolKey Of(byte[] key) => new(key);

    /// <summary>Wraps a session's key; the session id is bound to it.</summary>
    public byte[] Wrap(ReadOnlySpan<byte> sessionKey, ReadOnlySpan<byte> session)
    {
        var wrapped = new byte[WrappedSize];
        RandomNumberGenerator.Fill(wrapped.AsSpan(0, NonceSize));
        lock (_gate)
        {
            _key.Encrypt(
                wrapped.AsSpan(0, NonceSize), sessionKey, wrapped.AsSpan(NonceSize, KeySize), wrapped.AsSpan(NonceSize + KeySize), session);
        }

        return wrapped;
    }

    /// <summary>The cipher of a session.</summary>
    /// <exception cref="SpoolDamagedException">Wrapped with another key, or altered.</exception>
    public AesGcm Unwrap(ReadOnlySpan<byte> wrapped, ReadOnlySpan<byte> session)
    {
        Span<byte> key = stackalloc byte[KeySize];
        try
        {
            lock (_gate)
            {
                _key.Decrypt(wrapped[..NonceSize], wrapped.Slice(NonceSize, KeySize), wrapped[(NonceSize + KeySize)..], key, session);
            }

            return new AesGcm(key, TagSize);
        }
        catch (CryptographicException error)
        {
            throw new SpoolDamagedException("a session's key can't be unwrapped: the spool's key file is another one, or the spool was altered", error);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(key);
        }
    }

    /// <summary>Nonce of an entry: its number. A key is never used for the same number twice: after a crash a session goes on with a new key.</summary>
    public static void WriteNonce(Span<byte> nonce, long sequence)
    {
        nonce[..4].Clear();
        BinaryPrimitives.WriteInt64BigEndian(nonce[4..], sequence);
    }

    public void Dispose() => _key.Dispose();
}

/// <summary>What was once durable in the spool is damaged. That is no torn tail: somebody must look at it.</summary>
public sealed class SpoolDamagedException : Exception
{
    /// <summary>Says what is damaged.</summary>
    public SpoolDamagedException(string message, Exception? inner)
        : base(message, inner)
    {
    }

    /// <summary>Says what is damaged.</summary>
    public SpoolDamagedException(string message)
        : base(message)
    {
    }

    /// <summary>Without a message.</summary>
    public SpoolDamagedException()
    {
    }
}
