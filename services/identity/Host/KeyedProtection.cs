using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.DataProtection;

namespace Countersign.Identity.Host;

/// <summary>
/// Protects what browsers carry for us by a secret that the replicas of identity share (AES-256-GCM): what one has given out, any other can read, and nothing must be
/// stored for it.
/// </summary>
internal sealed class KeyedProtection(byte[] key) : IDataProtector
{
    private const int NonceSize = 12;
    private const int TagSize = 16;

    public IDataProtector CreateProtector(string purpose) =>
        new KeyedProtection(HKDF.DeriveKey(HashAlgorithmName.SHA256, key, 32, salt: null, info: Encoding.UTF8.GetBytes(purpose)));

    public byte[] Protect(byte[] plaintext)
    {
        var sealedBytes = new byte[NonceSize + plaintext.Length + TagSize];
        RandomNumberGenerator.Fill(sealedBytes.AsSpan(0, NonceSize));
        using var cipher = new AesGcm(key, TagSize);
        cipher.Encrypt(sealedBytes.AsSpan(0, NonceSize), plaintext, sealedBytes.AsSpan(NonceSize, plaintext.Length), sealedBytes.AsSpan(NonceSize + plaintext.Length));
        return sealedBytes;
    }

    public byte[] Unprotect(byte[] protectedData)
    {
        if (protectedData.Length < NonceSize + TagSize)
        {
            throw new CryptographicException("too short");
        }

        var plaintext = new byte[protectedData.Length - NonceSize - TagSize];
        using var cipher = new AesGcm(key, TagSize);
        cipher.Decrypt(
            protectedData.AsSpan(0, NonceSize), protectedData.AsSpan(NonceSize, plaintext.Length), protectedData.AsSpan(NonceSize + plaintext.Length), plaintext);
        return plaintext;
    }
}
