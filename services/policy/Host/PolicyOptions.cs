using Microsoft.Extensions.Options;

namespace Countersign.Policy.Host;

/// <summary>Options of the policy service, section <c>Countersign:Policy</c>.</summary>
public sealed record PolicyOptions
{
    /// <summary>Seconds between two freshness beacons. Proxies stop without one (I8).</summary>
    public double BeaconSeconds { get; init; } = 2;

    /// <summary>Seconds between two looks at changes that wait for approval: the safety net under the bus.</summary>
    public double PollSeconds { get; init; } = 2;

    /// <summary>Hours that a change waits for a second person where the settings document says nothing else.</summary>
    public int ChangeTimeoutHours { get; init; } = 24;

    /// <summary>Minutes after the approval within which the bundle must come into force where the settings document says nothing else.</summary>
    public int ActivationMinutes { get; init; } = 60;
}

internal sealed class PolicyOptionsCheck : IValidateOptions<PolicyOptions>
{
    public ValidateOptionsResult Validate(string? name, PolicyOptions options)
    {
        var errors = new List<string>();
        void Must(bool holds, string message)
        {
            if (!holds)
            {
                errors.Add($"Countersign:Policy:{message}");
            }
        }

        Must(options.BeaconSeconds is >= 0.1 and <= 10, "BeaconSeconds must lie between 0.1 and 10: proxies count on one every 2 s.");
        Must(options.PollSeconds is >= 0.1 and <= 60, "PollSeconds must lie between 0.1 and 60.");
        Must(options.ChangeTimeoutHours is >= 1 and <= 168, "ChangeTimeoutHours must lie between 1 and 168.");
        Must(options.ActivationMinutes is >= 1 and <= 1440, "ActivationMinutes must lie between 1 and 1440.");
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }
}
