using System.Security.Cryptography;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;

namespace Countersign.Proxy.Vault;

/// <summary>The private key of a proxy group: opens the target credentials that were sealed to it. All proxies of a group have the same one.</summary>
public sealed class GroupKey : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly ECDiffieHellman _key;

    private GroupKey(ECDiffieHellman key)
    {
        _key = key;
        Public = CredentialSealing.Describe(key.PublicKey);
    }

    /// <summary>What credentials are sealed to.</summary>
    public SealingKey Public { get; }

    /// <summary>Reads the PKCS#8 PEM at <paramref name="path"/>, or makes it with mode 0600 if it isn't there.</summary>
    /// <exception cref="InvalidDataException">The file is readable by others, or not a P-256 key.</exception>
    public static GroupKey LoadOrCreate(string path)
    {
        if (!File.Exists(path))
        {
            Create(path);
        }

        if ((File.GetUnixFileMode(path) & ~(OwnerOnly | UnixFileMode.UserExecute)) != 0)
        {
            throw new InvalidDataException($"{path} is readable by others; a private key must have mode 0600.");
        }

        var key = ECDiffieHellman.Create();
        try
        {
            key.ImportFromPem(File.ReadAllText(path));
            return key.KeySize == 256 ? new GroupKey(key) : throw new InvalidDataException($"{path} is not a P-256 key.");
        }
        catch (Exception error) when (error is ArgumentException or CryptographicException)
        {
            key.Dispose();
            throw new InvalidDataException($"{path} is not a PEM private key.", error);
        }
    }

    /// <summary>Opens the credential of a connection; it lives in the caller's memory only (I7).</summary>
    /// <exception cref="CryptographicException">It is sealed to another key, or to another name, address, port or trust.</exception>
    public TargetCredential Open(Connection connection) => CredentialSealing.Open(_key, connection);

    /// <inheritdoc/>
    public void Dispose() => _key.Dispose();

    private static void Create(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        using var fresh = ECDiffieHellman.Create(ECCurve.NamedCurves.nistP256);
        var temporary = $"{path}.{Guid.NewGuid():N}";
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = OwnerOnly };
        using (var stream = new FileStream(temporary, options))
        {
            stream.Write(System.Text.Encoding.ASCII.GetBytes(fresh.ExportPkcs8PrivateKeyPem()));
            stream.Flush(flushToDisk: true);
        }

        try
        {
            File.Move(temporary, path, overwrite: false);
        }
        catch (IOException) when (File.Exists(path))
        {
            // Another proxy of the group was faster: its key counts.
            File.Delete(temporary);
        }
    }
}
