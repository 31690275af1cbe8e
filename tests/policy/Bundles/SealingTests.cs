using System.Security.Cryptography;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;

namespace Countersign.Policy.Tests.Bundles;

[Trait("group", "unit")]
public sealed class SealingTests
{
    private static readonly TargetCredential Secret = new("app", "s3cret-of-the-target");

    [Fact]
    public void Hpke_gives_the_values_of_RFC_9180_appendix_A_3_1()
    {
        using var ephemeral = Private("4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb", "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4");
        using var recipient = Private("f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2", "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0");
        var info = Convert.FromHexString("4f6465206f6e2061204772656369616e2055726e");
        var associated = Convert.FromHexString("436f756e742d30");
        var plaintext = Convert.FromHexString("4265617574792069732074727574682c20747275746820626561757479");
        var (encapsulated, ciphertext) = Hpke.Seal(16, ephemeral, recipient.PublicKey, info, associated, plaintext);
        Assert.Equal(Hpke.Serialize(ephemeral.PublicKey), encapsulated);
        Assert.Equal("5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434", Convert.ToHexStringLower(ciphertext));
        Assert.Equal(plaintext, Hpke.Open(16, recipient, encapsulated, info, associated, ciphertext));
    }

    [Fact]
    public void What_is_sealed_opens_for_its_connection_and_no_two_sealings_are_alike()
    {
        using var key = ECDiffieHellman.Create(ECCurve.NamedCurves.nistP256);
        var connection = Given.Connection();
        var one = CredentialSealing.Seal(CredentialSealing.Describe(key.PublicKey), connection, Secret);
        var other = CredentialSealing.Seal(CredentialSealing.Describe(key.PublicKey), connection, Secret);
        Assert.NotEqual(one.Ciphertext, other.Ciphertext);
        Assert.NotEqual(one.Encapsulated, other.Encapsulated);
        Assert.Equal(Secret, CredentialSealing.Open(key, connection with { Credential = one }));
        var none = new TargetCredential("app", null);
        Assert.Equal(none, CredentialSealing.Open(key, connection with { Credential = CredentialSealing.Seal(CredentialSealing.Describe(key.PublicKey), connection, none) }));
    }

    [Fact]
    public void Another_address_port_name_database_trust_or_key_opens_nothing()
    {
        using var key = ECDiffieHellman.Create(ECCurve.NamedCurves.nistP256);
        using var stranger = ECDiffieHellman.Create(ECCurve.NamedCurves.nistP256);
        var connection = Given.Connection();
        var bound = connection with { Credential = CredentialSealing.Seal(CredentialSealing.Describe(key.PublicKey), connection, Secret) };
        Connection[] changed =
        [
            bound with { Host = "127.0.0.2" }, bound with { Port = 5433 }, bound with { Name = "shop2" }, bound with { Tls = "disable" },
            bound with { TrustedCertificates = "-----BEGIN CERTIFICATE-----" }, bound with { Protocol = "mysql" },
        ];
        foreach (var one in changed)
        {
            var error = Assert.Throws<CryptographicException>(() => CredentialSealing.Open(key, one));
            Assert.DoesNotContain("s3cret", error.ToString(), StringComparison.Ordinal);
        }

        Assert.Throws<CryptographicException>(() => CredentialSealing.Open(stranger, bound));
        // Labels and the default database aren't part of where the credential goes.
        Assert.Equal(Secret, CredentialSealing.Open(key, bound with { Database = "other", Labels = new Dictionary<string, string> { ["a"] = "b" } }));
    }

    [Fact]
    public void Damaged_bytes_open_nothing()
    {
        using var key = ECDiffieHellman.Create(ECCurve.NamedCurves.nistP256);
        var connection = Given.Connection();
        var credential = CredentialSealing.Seal(CredentialSealing.Describe(key.PublicKey), connection, Secret);
        var flipped = (credential.Ciphertext[5] == 'A' ? 'B' : 'A') + credential.Ciphertext[6..];
        SealedCredential[] damaged =
        [
            credential with { Ciphertext = credential.Ciphertext[..5] + flipped }, credential with { Ciphertext = "AA" }, credential with { Ciphertext = "" },
            credential with { Encapsulated = credential.Encapsulated[..40] }, credential with { Encapsulated = "*" }, credential with { Suite = "none" },
            credential with { Encapsulated = new string('A', credential.Encapsulated.Length) },
        ];
        foreach (var one in damaged)
        {
            Assert.Throws<CryptographicException>(() => CredentialSealing.Open(key, connection with { Credential = one }));
        }

        Assert.Throws<CryptographicException>(() => CredentialSealing.Open(key, connection));
    }

    [Fact]
    public void The_associated_data_is_frozen() => Assert.Equal(
        "636f756e7465727369676e20636f6e6e656374696f6e2076310a0000000473686f7000000008706f737467726573000000093132372e302e302e3100000004353433320000000b7665726966792d66756c6c00000000",
        Convert.ToHexStringLower(CredentialSealing.AssociatedData(Given.Connection())));

    [Fact]
    public void A_credential_sealed_by_version_1_still_opens()
    {
        // Sealed once with the key of RFC 9180, A.3.1: the format must go on being readable.
        using var key = Private("f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2", "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0");
        var credential = new SealedCredential(CredentialSealing.Suite, CredentialSealing.Describe(key.PublicKey).KeyId, Frozen.Encapsulated, Frozen.Ciphertext);
        Assert.Equal(Secret, CredentialSealing.Open(key, Given.Connection() with { Credential = credential }));
    }

    private static ECDiffieHellman Private(string secret, string point)
    {
        var bytes = Convert.FromHexString(point);
        return ECDiffieHellman.Create(new ECParameters
        {
            Curve = ECCurve.NamedCurves.nistP256,
            D = Convert.FromHexString(secret),
            Q = new ECPoint { X = bytes[1..33], Y = bytes[33..] },
        });
    }
}
