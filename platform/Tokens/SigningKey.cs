using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Platform.Tokens;

/// <summary>A service's own ES256 (RFC 7518, section 3.4) signing key. The private part never leaves this object and its 0600 file.</summary>
public sealed class SigningKey : IDisposable
{
    private readonly ECDsa _ecdsa;
    private readonly SigningCredentials _credentials;
    private readonly JsonWebTokenHandler _handler = new() { SetDefaultTimesOnTokenCreation = false };

    private SigningKey(ECDsa ecdsa)
    {
        _ecdsa = ecdsa;
        PublicKey = PublicJwk(ecdsa);
        var key = new ECDsaSecurityKey(ecdsa)
        {
            KeyId = PublicKey.KeyId,

            // The default factory keeps providers for the whole process by key id: a key loaded again would sign with the one disposed before.
            CryptoProviderFactory = new CryptoProviderFactory { CacheSignatureProviders = false },
        };
        _credentials = new SigningCredentials(key, SecurityAlgorithms.EcdsaSha256);
    }

    /// <summary>The public part as JWK (RFC 7517); its <c>kid</c> is the RFC 7638 thumbprint.</summary>
    public JsonWebKey PublicKey { get; }

    /// <summary>Key id.</summary>
    public string KeyId => PublicKey.KeyId;

    /// <summary>A new key in memory only.</summary>
    public static SigningKey Create() => new(ECDsa.Create(ECCurve.NamedCurves.nistP256));

    /// <summary>Reads the PKCS#8 PEM at <paramref name="path"/>, or makes it with mode 0600 if it isn't there.</summary>
    /// <exception cref="InvalidDataException">The file is readable by others, or not a P-256 key.</exception>
    public static SigningKey LoadOrCreate(string path)
    {
        if (!File.Exists(path))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            using var fresh = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            var temporary = path + "." + Guid.NewGuid().ToString("N");
            var options = new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            };
            using (var stream = new FileStream(temporary, options))
            using (var writer = new StreamWriter(stream))
            {
                writer.Write(fresh.ExportPkcs8PrivateKeyPem());
                writer.Flush();
                stream.Flush(flushToDisk: true);
            }

            try
            {
                File.Move(temporary, path, overwrite: false);
            }
            catch (IOException) when (File.Exists(path))
            {
                File.Delete(temporary);
            }
        }

        const UnixFileMode Others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        if (!OperatingSystem.IsWindows() && (File.GetUnixFileMode(path) & Others) != 0)
        {
            throw new InvalidDataException($"{path} is readable by others; a private key must have mode 0600.");
        }

        var ecdsa = ECDsa.Create();
        try
        {
            ecdsa.ImportFromPem(File.ReadAllText(path));
            if (ecdsa.KeySize != 256)
            {
                throw new InvalidDataException($"{path} is not a P-256 key.");
            }

            return new SigningKey(ecdsa);
        }
        catch (Exception error) when (error is ArgumentException or CryptographicException)
        {
            ecdsa.Dispose();
            throw new InvalidDataException($"{path} is not a PEM private key.", error);
        }
    }

    /// <summary>Signs claims as compact JWS (RFC 7515).</summary>
    /// <param name="type">Value of the <c>typ</c> header; a verifier insists on it, so that one kind of token can't stand in for another (RFC 8725, 3.11).</param>
    /// <param name="claims">Serialised with <see cref="TokenJson.Options"/>.</param>
    public string Sign<TClaims>(string type, TClaims claims)
    {
        var payload = JsonSerializer.Serialize(claims, TokenJson.Options);
        return _handler.CreateToken(payload, _credentials, new Dictionary<string, object> { [JwtHeaderParameterNames.Typ] = type });
    }

    /// <summary>Signs bytes that are no token, e.g. a seal of a recording. The bytes must begin with a domain of their own, so that they can't be mistaken for a token.</summary>
    /// <param name="data">What is signed.</param>
    /// <returns>ES256 signature: r and s, 64 bytes.</returns>
    public byte[] SignData(ReadOnlySpan<byte> data) =>
        _ecdsa.SignData(data, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);

    /// <summary>Derives a secret for another purpose from the private key (HKDF, RFC 5869): replicas that share the key share it, and nobody else has it.</summary>
    /// <param name="purpose">Says what for; another purpose gives another secret.</param>
    /// <returns>32 bytes.</returns>
    public byte[] DeriveSecret(string purpose)
    {
        ArgumentException.ThrowIfNullOrEmpty(purpose);
        var secret = _ecdsa.ExportParameters(includePrivateParameters: true).D!;
        try
        {
            return HKDF.DeriveKey(HashAlgorithmName.SHA256, secret, 32, salt: null, info: System.Text.Encoding.UTF8.GetBytes("countersign/derived/v1\n" + purpose));
        }
        finally
        {
            CryptographicOperations.ZeroMemory(secret);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _ecdsa.Dispose();

    private static JsonWebKey PublicJwk(ECDsa ecdsa)
    {
        var parameters = ecdsa.ExportParameters(includePrivateParameters: false);
        var jwk = new JsonWebKey
        {
            Kty = JsonWebAlgorithmsKeyTypes.EllipticCurve,
            Crv = JsonWebKeyECTypes.P256,
            X = Base64UrlEncoder.Encode(parameters.Q.X),
            Y = Base64UrlEncoder.Encode(parameters.Q.Y),
            Use = "sig",
            Alg = SecurityAlgorithms.EcdsaSha256,
        };
        jwk.KeyId = Base64UrlEncoder.Encode(jwk.ComputeJwkThumbprint());
        return jwk;
    }
}
