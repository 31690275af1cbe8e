using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.Tls;

/// <summary>The certificate that clients see: the operator's, or one of an authority of the proxy's own that is made at first start.</summary>
internal sealed class GatewayCertificate : IDisposable
{
    private static readonly TimeSpan AuthorityLifetime = TimeSpan.FromDays(3650);
    private static readonly TimeSpan LeafLifetime = TimeSpan.FromDays(90);
    private static readonly TimeSpan RenewBefore = TimeSpan.FromDays(15);

    public GatewayCertificate(IOptions<ProxyOptions> options, TimeProvider clock)
    {
        var own = options.Value;
        if (own.CertificatePath.Length > 0)
        {
            Certificate = X509Certificate2.CreateFromPemFile(own.CertificatePath, own.CertificateKeyPath);
            AuthorityPem = File.ReadAllText(own.CertificatePath);
            return;
        }

        var folder = System.IO.Path.Combine(own.Data, "tls");
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var now = clock.GetUtcNow();
        using var authority = LoadOrMake(folder, "ca", now, () => MakeAuthority(now));
        Certificate = LoadOrMake(folder, "server", now, () => MakeLeaf(authority, own.PublicHost, now));
        AuthorityPem = authority.ExportCertificatePem();
    }

    /// <summary>Certificate with private key.</summary>
    public X509Certificate2 Certificate { get; }

    /// <summary>What a client must trust, PEM.</summary>
    public string AuthorityPem { get; }

    public void Dispose() => Certificate.Dispose();

    private static X509Certificate2 LoadOrMake(string folder, string name, DateTimeOffset now, Func<X509Certificate2> make)
    {
        var certificate = System.IO.Path.Combine(folder, name + ".crt");
        var key = System.IO.Path.Combine(folder, name + ".key");
        if (File.Exists(certificate) && File.Exists(key))
        {
            var loaded = X509Certificate2.CreateFromPemFile(certificate, key);
            if (loaded.NotAfter.ToUniversalTime() - now.UtcDateTime > RenewBefore)
            {
                return loaded;
            }

            loaded.Dispose();
        }

        var made = make();
        using (var ecdsa = made.GetECDsaPrivateKey()!)
        {
            WriteSecret(key, ecdsa.ExportPkcs8PrivateKeyPem());
        }

        File.WriteAllText(certificate, made.ExportCertificatePem());
        return made;
    }

    private static X509Certificate2 MakeAuthority(DateTimeOffset now)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=Countersign gateway authority", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, true, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        return request.CreateSelfSigned(now.AddMinutes(-5), now + AuthorityLifetime);
    }

    private static X509Certificate2 MakeLeaf(X509Certificate2 authority, string host, DateTimeOffset now)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=" + host, key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        if (IPAddress.TryParse(host, out var address))
        {
            names.AddIpAddress(address);
        }
        else
        {
            names.AddDnsName(host);
        }

        if (host == "localhost")
        {
            names.AddIpAddress(IPAddress.Loopback);
            names.AddIpAddress(IPAddress.IPv6Loopback);
        }

        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1")], false));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(authority, true, false));
        var serial = RandomNumberGenerator.GetBytes(16);
        serial[0] &= 0x7F;
        using var certificate = request.Create(authority, now.AddMinutes(-5), now + LeafLifetime, serial);
        return certificate.CopyWithPrivateKey(key);
    }

    private static void WriteSecret(string path, string text)
    {
        var options = new FileStreamOptions
        {
            Mode = FileMode.Create,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        using var stream = new StreamWriter(path, options);
        stream.Write(text);
    }
}
