using Microsoft.Extensions.Options;

namespace Countersign.Entrance;

/// <summary>Section <c>Countersign:Entrance</c>. Checked all at once at start.</summary>
public sealed class EntranceOptions
{
    /// <summary>Name of the section.</summary>
    public const string Section = "Countersign:Entrance";

    /// <summary>Services that people reach, all of them behind one origin.</summary>
    public static IReadOnlyList<string> AppIds { get; } = ["identity", "policy", "approval", "recorder", "proxy"];

    /// <summary>Addresses of a service's replicas by app id, e.g. <c>http://127.0.0.1:6120</c>.</summary>
    public IDictionary<string, IList<string>> Services { get; } = new Dictionary<string, IList<string>>(StringComparer.Ordinal);

    /// <summary>Whether the development issuer under <c>/dev-issuer</c> is reachable, at identity. Never where anything is real.</summary>
    public bool DevIssuer { get; set; }
}

internal sealed class EntranceOptionsCheck : IValidateOptions<EntranceOptions>
{
    public ValidateOptionsResult Validate(string? name, EntranceOptions options)
    {
        var errors = new List<string>();
        foreach (var unknown in options.Services.Keys.Except(EntranceOptions.AppIds))
        {
            errors.Add($"{EntranceOptions.Section}:Services:{unknown} is no service.");
        }

        foreach (var appId in EntranceOptions.AppIds)
        {
            if (!options.Services.TryGetValue(appId, out var addresses) || addresses.Count == 0)
            {
                errors.Add($"{EntranceOptions.Section}:Services:{appId}:0 must name where a replica of {appId} listens.");
                continue;
            }

            foreach (var address in addresses)
            {
                if (!Uri.TryCreate(address, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https") || uri.PathAndQuery != "/")
                {
                    errors.Add($"{EntranceOptions.Section}:Services:{appId}: {address} is no http or https address without a path.");
                }
            }
        }

        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }
}
