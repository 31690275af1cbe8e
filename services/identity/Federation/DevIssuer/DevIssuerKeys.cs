using System.Security.Cryptography;
using System.Text;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Identity.Federation.DevIssuer;

/// <summary>Keys of the development issuer in 0600 files, so that logins outlive a restart.</summary>
internal static class DevIssuerKeys
{
    private const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Signing key (ES256), PKCS#8 PEM.</summary>
    public static ECDsaSecurityKey Signing(string directory)
    {
        var path = Path.Combine(directory, "dev-issuer.key");
        var pem = ReadOrCreate(path, () =>
        {
            using var fresh = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            return fresh.ExportPkcs8PrivateKeyPem();
        });
        var key = ECDsa.Create();
        key.ImportFromPem(pem);
        return new ECDsaSecurityKey(key)
        {
            KeyId = Convert.ToHexStringLower(SHA256.HashData(key.ExportSubjectPublicKeyInfo()))[..32],
        };
    }

    /// <summary>Key that codes and refresh tokens are encrypted with, base64.</summary>
    public static SymmetricSecurityKey Encryption(string directory)
        => new(Convert.FromBase64String(ReadOrCreate(Path.Combine(directory, "dev-issuer.secret"), () => Convert.ToBase64String(RandomNumberGenerator.GetBytes(32)))));

    private static string ReadOrCreate(string path, Func<string> create)
    {
        if (!File.Exists(path))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!, Owner | UnixFileMode.UserExecute);
            var temporary = $"{path}.{Guid.NewGuid():N}.tmp";
            using (var stream = new FileStream(temporary, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = Owner }))
            {
                stream.Write(Encoding.ASCII.GetBytes(create()));
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: false);
        }

        return File.ReadAllText(path);
    }
}
