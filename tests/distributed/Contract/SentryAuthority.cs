using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>
/// The authority of the sidecars and sentry's issuer, as <c>eng/secrets.sh</c> makes them for a cluster: sentry is given them and makes none itself, so that what is
/// proved here is what runs there.
/// </summary>
internal static class SentryAuthority
{
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Writes <c>ca.crt</c>, <c>issuer.crt</c> and <c>issuer.key</c> (PEM, ECDSA P-256).</summary>
    public static async Task WriteAsync(string folder)
    {
        var now = DateTimeOffset.UtcNow;
        using var rootKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var root = new CertificateRequest("CN=Countersign sidecars", rootKey, HashAlgorithmName.SHA256);
        root.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, 0, critical: true));
        root.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        root.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(root.PublicKey, critical: false));
        using var authority = root.CreateSelfSigned(now.AddMinutes(-5), now.AddDays(3650));

        using var issuerKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=Countersign sentry", issuerKey, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: true, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign | X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(authority, includeKeyIdentifier: true, includeIssuerAndSerial: false));
        using var issuer = request.Create(authority, now.AddMinutes(-5), now.AddDays(730), RandomNumberGenerator.GetBytes(16));

        await WriteAsync(Path.Combine(folder, "ca.crt"), authority.ExportCertificatePem());
        await WriteAsync(Path.Combine(folder, "issuer.crt"), issuer.ExportCertificatePem());
        await WriteAsync(Path.Combine(folder, "issuer.key"), issuerKey.ExportPkcs8PrivateKeyPem());
    }

    private static async Task WriteAsync(string path, string pem)
    {
        await using var stream = new FileStream(path, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = Private });
        await using var writer = new StreamWriter(stream);
        await writer.WriteAsync(pem + "\n");
    }
}

/// <summary>What sentry is given is what it takes: sidecars find their way from an issued certificate to the authority, and nothing below the issuer is an authority.</summary>
public sealed class SentryAuthorityTests
{
    [Fact]
    public async Task The_authority_and_its_issuer_are_as_those_of_a_cluster()
    {
        Assert.SkipUnless((Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(each => File.Exists(Path.Combine(each, "openssl"))), "openssl is not installed");
        var folder = Directory.CreateTempSubdirectory("cs-authority-").FullName;
        try
        {
            var script = Path.Combine(folder, "secrets");
            await Countersign.Fakes.Postgres.PostgresServer.RunAsync("bash", [Path.Combine(Repository(), "eng", "secrets.sh"), script]);
            await SentryAuthority.WriteAsync(folder);
            foreach (var (ca, crt, key) in new[] { ("ca.crt", "issuer.crt", "issuer.key"), ("secrets/dapr-ca.crt", "secrets/dapr-issuer.crt", "secrets/dapr-issuer.key") })
            {
                var (caText, crtText, keyText) = (
                    await File.ReadAllTextAsync(Path.Combine(folder, ca)), await File.ReadAllTextAsync(Path.Combine(folder, crt)), await File.ReadAllTextAsync(Path.Combine(folder, key)));
                using var authority = X509Certificate2.CreateFromPem(caText);
                using var issuer = X509Certificate2.CreateFromPem(crtText, keyText);
                Assert.True(issuer.HasPrivateKey);
                Assert.StartsWith("-----BEGIN PRIVATE KEY-----", keyText, StringComparison.Ordinal);
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(folder, key)));
                Assert.True(Constraints(authority) is { CertificateAuthority: true, HasPathLengthConstraint: false, Critical: true });
                Assert.True(Constraints(issuer) is { CertificateAuthority: true, HasPathLengthConstraint: true, PathLengthConstraint: 0, Critical: true });
                using var leafKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
                using var leaf = new CertificateRequest("CN=approval", leafKey, HashAlgorithmName.SHA256).Create(issuer, issuer.NotBefore, DateTimeOffset.UtcNow.AddDays(1), [1]);
                using var chain = new X509Chain { ChainPolicy = { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck } };
                chain.ChainPolicy.CustomTrustStore.Add(authority);
                chain.ChainPolicy.ExtraStore.Add(issuer);
                Assert.True(chain.Build(leaf), string.Join(", ", chain.ChainStatus.Select(status => status.StatusInformation)));
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static X509BasicConstraintsExtension Constraints(X509Certificate2 certificate) => Assert.Single(certificate.Extensions.OfType<X509BasicConstraintsExtension>());

    private static string Repository()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "eng", "secrets.sh")))
        {
            folder = folder.Parent;
        }

        return folder.FullName;
    }
}
