using System.Net;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host;

/// <summary>Options of the proxy, section <c>Countersign:Proxy</c>. Checked all at once at start.</summary>
public sealed class ProxyOptions
{
    /// <summary>Name of the section.</summary>
    public const string Section = "Countersign:Proxy";

    /// <summary>Id of this proxy: stands in recordings and assertions. Letters, digits and hyphens.</summary>
    public string Id { get; set; } = "proxy-1";

    /// <summary>The proxy group whose credentials it may open.</summary>
    public string Group { get; set; } = "default";

    /// <summary>Folder of keys, certificates and the spool.</summary>
    public string Data { get; set; } = "";

    /// <summary>Address the PostgreSQL listener binds.</summary>
    public string PostgresAddress { get; set; } = "127.0.0.1";

    /// <summary>Port of the PostgreSQL listener; 0 takes a free one.</summary>
    public int PostgresPort { get; set; } = 5439;

    /// <summary>Host name that clients use; must stand in the certificate.</summary>
    public string PublicHost { get; set; } = "localhost";

    /// <summary>PEM certificate chain; empty: a certificate of the proxy's own authority, made at first start.</summary>
    public string CertificatePath { get; set; } = "";

    /// <summary>PEM private key of the certificate.</summary>
    public string CertificateKeyPath { get; set; } = "";

    /// <summary>Most sessions at a time.</summary>
    public int MaxSessions { get; set; } = 1000;

    /// <summary>A beacon older than this: no new sessions and no redemptions (I8).</summary>
    public TimeSpan StaleAfter { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>A beacon older than this: sessions end (I8).</summary>
    public TimeSpan DeadAfter { get; set; } = TimeSpan.FromSeconds(120);

    /// <summary>How long beacons that come by event are enough before policy and identity are asked anyway.</summary>
    public TimeSpan AskEvery { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>How long a shutdown waits for running operations.</summary>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(20);
}

/// <summary>Lists every error of the options at once.</summary>
internal sealed class ProxyOptionsValidator : IValidateOptions<ProxyOptions>
{
    public ValidateOptionsResult Validate(string? name, ProxyOptions options)
    {
        var errors = new List<string>();
        void Require(bool good, string error)
        {
            if (!good)
            {
                errors.Add($"{ProxyOptions.Section}:{error}");
            }
        }

        Require(options.Id.Length is > 0 and <= 64 && options.Id.All(IsNameCharacter), "Id must be 1 to 64 letters, digits or hyphens.");
        Require(options.Group.Length is > 0 and <= 64 && options.Group.All(IsNameCharacter), "Group must be 1 to 64 letters, digits or hyphens.");
        Require(options.Data.Length > 0, "Data must name a folder.");
        Require(IPAddress.TryParse(options.PostgresAddress, out _), "PostgresAddress must be an IP address.");
        Require(options.PostgresPort is >= 0 and <= 65535, "PostgresPort must be 0 to 65535.");
        Require(Uri.CheckHostName(options.PublicHost) != UriHostNameType.Unknown, "PublicHost must be a host name.");
        Require(options.CertificatePath.Length == 0 == (options.CertificateKeyPath.Length == 0), "CertificatePath and CertificateKeyPath go together.");
        Require(options.CertificatePath.Length == 0 || File.Exists(options.CertificatePath), "CertificatePath is not a file.");
        Require(options.CertificateKeyPath.Length == 0 || File.Exists(options.CertificateKeyPath), "CertificateKeyPath is not a file.");
        Require(options.MaxSessions is >= 1 and <= 100_000, "MaxSessions must be 1 to 100000.");
        Require(options.StaleAfter >= TimeSpan.FromSeconds(5), "StaleAfter must be at least 5 s: beacons come every 2 s.");
        Require(options.DeadAfter >= options.StaleAfter, "DeadAfter must not be less than StaleAfter.");
        Require(options.AskEvery >= TimeSpan.FromSeconds(1) && options.AskEvery <= TimeSpan.FromMinutes(10), "AskEvery must be 1 s to 10 minutes.");
        Require(options.DrainTimeout >= TimeSpan.Zero && options.DrainTimeout <= TimeSpan.FromMinutes(10), "DrainTimeout must be 0 to 10 minutes.");
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }

    private static bool IsNameCharacter(char character) => char.IsAsciiLetterOrDigit(character) || character == '-';
}
