using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Countersign.Proxy.Postgres.Scram;

/// <summary>tls-server-end-point (RFC 5929 section 4.1): hash of the server's certificate, which ties a SCRAM exchange to its TLS session.</summary>
internal static class ChannelBinding
{
    /// <summary>Computes it from the certificate, since the platform's own context isn't there for every TLS version.</summary>
    public static byte[] EndPoint(X509Certificate2 certificate)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        var raw = certificate.RawDataMemory.Span;
        return certificate.SignatureAlgorithm.Value switch
        {
            // The signature's own hash; MD5 and SHA-1 become SHA-256. RSA-PSS and Ed25519 name none in the OID: PostgreSQL's libpq takes SHA-256 where it finds none.
            "1.2.840.113549.1.1.12" or "1.2.840.10045.4.3.3" => SHA384.HashData(raw),
            "1.2.840.113549.1.1.13" or "1.2.840.10045.4.3.4" => SHA512.HashData(raw),
            _ => SHA256.HashData(raw),
        };
    }
}
