using Countersign.Identity.Federation;
using Countersign.Identity.Federation.DevIssuer;
using Countersign.Platform.Hosting;
using Microsoft.Extensions.Hosting;

namespace Countersign.Identity.Host;

/// <summary>Options of identity, read once and checked all at once at start.</summary>
public sealed class IdentityOptions
{
    private IReadOnlyList<string> _unreadable = [];

    /// <summary>Where people and services reach the host: <c>Countersign:BaseUrl</c>.</summary>
    public string BaseUrl { get; set; } = "";
    /// <summary>Data directory: <c>Countersign:Data</c>.</summary>
    public string Data { get; set; } = "./.countersign";
    /// <summary>Origins besides <see cref="BaseUrl"/> that a login in a browser may return to: <c>Countersign:Identity:ReturnOrigins</c>.</summary>
    public IList<string> ReturnOrigins { get; } = [];
    /// <summary>The provider: <c>Countersign:Identity:Provider</c>.</summary>
    public ProviderOptions Provider { get; set; } = new();
    /// <summary>The development issuer: <c>Countersign:DevIssuer</c>.</summary>
    public DevIssuerOptions DevIssuer { get; set; } = new();

    /// <summary>Reads them.</summary>
    public static IdentityOptions Read(IConfiguration configuration)
    {
        var options = new IdentityOptions();
        List<string> unreadable = [.. configuration.GetSection("Countersign:Identity").BindChecked(options)];
        var section = configuration.GetSection("Countersign");
        options.BaseUrl = section["BaseUrl"] ?? "";
        options.Data = section["Data"] ?? options.Data;
        unreadable.AddRange(section.GetSection("DevIssuer").BindChecked(options.DevIssuer));
        options._unreadable = unreadable;
        if (options.DevIssuer.Enabled && options.Provider.Issuer.Length == 0 && options.BaseUrl.Length > 0)
        {
            options.Provider.Issuer = DevIssuerService.IssuerOf(options.BaseUrl);
        }

        return options;
    }

    /// <summary>Everything that is wrong, for people.</summary>
    public IReadOnlyList<string> Errors(IHostEnvironment environment)
    {
        var errors = new List<string>(_unreadable);
        if (!Uri.TryCreate(BaseUrl, UriKind.Absolute, out var baseUrl) || !ProviderMetadata.IsSafe(baseUrl) || baseUrl.PathAndQuery != "/")
        {
            errors.Add("Countersign:BaseUrl must be the https origin under which this host is reached, without a path (http is for loopback only).");
        }

        foreach (var origin in ReturnOrigins)
        {
            if (!Uri.TryCreate(origin, UriKind.Absolute, out var uri) || !ProviderMetadata.IsSafe(uri) || uri.PathAndQuery != "/")
            {
                errors.Add($"Countersign:Identity:ReturnOrigins: {origin} is not an https origin.");
            }
        }

        errors.AddRange(Provider.Errors());
        errors.AddRange(DevIssuer.Errors(environment.IsDevelopment(), BaseUrl));
        return errors;
    }
}
