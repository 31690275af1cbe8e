using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.Options;

namespace Countersign.Approval.Host;

/// <summary>Where people reach this service: configured, never taken from a request's Host header, since links are sent to others.</summary>
internal sealed class PublicAddress(IOptions<ApprovalOptions> options, IConfiguration configuration, IServiceProvider services)
{
    /// <summary>Scheme, host and port, without slash at the end.</summary>
    public string Base
    {
        get
        {
            string?[] configured = [options.Value.PublicUrl, configuration["Countersign:PublicUrl"], configuration["Countersign:BaseUrl"]];
            return (configured.FirstOrDefault(url => !string.IsNullOrEmpty(url)) ?? Own()).TrimEnd('/');
        }
    }

    /// <summary>The page of a request.</summary>
    public string Of(string request) => $"{Base}/approval/requests/{Uri.EscapeDataString(request)}";

    private string Own() =>
        services.GetService<IServer>()?.Features.Get<IServerAddressesFeature>()?.Addresses.FirstOrDefault()
            ?.Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal).Replace("[::]", "127.0.0.1", StringComparison.Ordinal)
        ?? "";
}
