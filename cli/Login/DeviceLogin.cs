namespace Countersign.Cli.Login;

/// <summary>Login on another screen: the device authorization grant (RFC 8628).</summary>
internal static class DeviceLogin
{
    private const string GrantType = "urn:ietf:params:oauth:grant-type:device_code";

    /// <summary>Shortest and longest pause between two polls, whatever the provider says.</summary>
    private static readonly TimeSpan ShortestPause = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(1);

    /// <param name="provider">The provider.</param>
    /// <param name="show">Shows the person where to go and what to enter.</param>
    /// <param name="time">Clock.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <returns>The id_token.</returns>
    public static async Task<string> RunAsync(OidcProvider provider, Action<DevicePrompt> show, TimeProvider time, CancellationToken cancellation)
    {
        var endpoint = provider.Configuration.DeviceAuthorizationEndpoint
            ?? throw new CliException(ExitCodes.Refused, "The provider has no device login.", "Use: countersign login --browser", "no-device-login");
        var begun = await provider.PostAsync(
            endpoint, new Dictionary<string, string> { ["client_id"] = provider.Login.ClientId, ["scope"] = provider.Scope }, cancellation);
        if (begun.DeviceCode is null || begun.UserCode is null || begun.VerificationUri is null)
        {
            throw begun.Refusal("The provider refused the device login");
        }

        var pause = TimeSpan.FromSeconds(begun.Interval ?? 5);
        var deadline = time.GetUtcNow().AddSeconds(begun.ExpiresIn ?? 600);
        show(new DevicePrompt(begun.VerificationUri, begun.VerificationUriComplete, begun.UserCode, deadline));
        var form = new Dictionary<string, string>
        {
            ["grant_type"] = GrantType,
            ["device_code"] = begun.DeviceCode,
            ["client_id"] = provider.Login.ClientId,
        };
        while (time.GetUtcNow() < deadline)
        {
            await Task.Delay(pause < ShortestPause ? ShortestPause : pause > LongestPause ? LongestPause : pause, time, cancellation);
            var answer = await provider.PostAsync(provider.Configuration.TokenEndpoint!, form, cancellation);
            switch (answer.Error)
            {
                case null:
                    return answer.IdToken ?? throw new CliException(ExitCodes.Refused, "The provider gave no id_token.", code: "no-id-token");
                case "authorization_pending":
                    break;
                case "slow_down":
                    pause += TimeSpan.FromSeconds(5);
                    break;
                default:
                    throw answer.Refusal("The login was not completed");
            }
        }

        throw new CliException(ExitCodes.Refused, "Nobody entered the code in time.", "Run: countersign login", "expired_token");
    }
}

/// <summary>What a person needs to log in on another screen.</summary>
internal sealed record DevicePrompt(Uri VerificationUri, Uri? VerificationUriComplete, string UserCode, DateTimeOffset ExpiresAt);
