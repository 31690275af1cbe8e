using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Countersign.Approval.Notify;

/// <summary>Decides whether a mail server is who it should be, and keeps why not. One for each connection.</summary>
/// <param name="authorities">Authorities that are trusted; empty for those of the system.</param>
/// <param name="checkRevocation">Whether a certificate whose revocation can't be checked is refused.</param>
internal sealed class MailTrust(X509Certificate2Collection authorities, bool checkRevocation)
{
    /// <summary>Why the server was refused; null while it wasn't.</summary>
    public string? Refusal { get; private set; }

    /// <summary>Certificates of a PEM file; null where it can't be read.</summary>
    public static X509Certificate2Collection? Authorities(string file)
    {
        try
        {
            var authorities = new X509Certificate2Collection();
            authorities.ImportFromPemFile(file);
            return authorities;
        }
        catch (Exception error) when (error is CryptographicException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>For the handshake. Knows no exceptions: what isn't in order is refused.</summary>
    public bool Check(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        Refusal = certificate is null || errors.HasFlag(SslPolicyErrors.RemoteCertificateNotAvailable) ? "the server has no certificate"
            : errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch) ? "the server's certificate is for another name"
            : authorities.Count > 0 ? ByOwn(certificate, chain)
            : errors == SslPolicyErrors.None ? null
            : Word(chain);
        return Refusal is null;
    }

    private string? ByOwn(X509Certificate certificate, X509Chain? sent)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.AddRange(authorities);
        chain.ChainPolicy.RevocationMode = checkRevocation ? X509RevocationMode.Online : X509RevocationMode.NoCheck;
        // RFC 5280 section 4.2.1.12: for the authentication of servers.
        chain.ChainPolicy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.1"));
        foreach (var element in sent?.ChainElements ?? Enumerable.Empty<X509ChainElement>())
        {
            chain.ChainPolicy.ExtraStore.Add(element.Certificate);
        }

        using var leaf = X509CertificateLoader.LoadCertificate(certificate.Export(X509ContentType.Cert));
        return chain.Build(leaf) ? null : Word(chain);
    }

    private static string Word(X509Chain? chain)
    {
        var status = (chain?.ChainStatus ?? []).Aggregate(X509ChainStatusFlags.NoError, (all, each) => all | each.Status);
        const X509ChainStatusFlags Unknown = X509ChainStatusFlags.RevocationStatusUnknown | X509ChainStatusFlags.OfflineRevocation;
        return status.HasFlag(X509ChainStatusFlags.Revoked) ? "the server's certificate was revoked"
            : status.HasFlag(X509ChainStatusFlags.NotTimeValid) ? "the server's certificate has expired or is not valid yet"
            : status != X509ChainStatusFlags.NoError && (status & ~Unknown) == 0 ? "the revocation of the server's certificate can't be checked"
            : "the server's certificate is not trusted";
    }
}
