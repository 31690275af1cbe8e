using System.Net;

namespace Countersign.Cli.Login;

/// <summary>Where secrets may travel: TLS, or within this machine.</summary>
internal static class Transport
{
    public static bool IsSafe(Uri address) => address.Scheme == Uri.UriSchemeHttps || (address.Scheme == Uri.UriSchemeHttp && IsLoopback(address.Host));

    /// <summary>Loopback addresses and localhost (RFC 6761, section 6.3).</summary>
    public static bool IsLoopback(string host) =>
        string.Equals(host, "localhost", StringComparison.OrdinalIgnoreCase)
        || (IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address));
}
