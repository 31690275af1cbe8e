using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Dapr;

/// <summary>Where the sidecar is, what it must show and what it is shown. Section <c>Countersign:Dapr</c>; the variables that daprd sets count where that says nothing.</summary>
public sealed class DaprOptions
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "Countersign:Dapr";

    /// <summary>Fewest characters of a token.</summary>
    public const int MinToken = 16;

    /// <summary>Largest message between a service and its sidecar in bytes, as sidecars are started (<c>--max-body-size=64Mi</c>).</summary>
    internal const int LargestMessage = 64 * 1024 * 1024;

    /// <summary>Address of the sidecar's HTTP API (<c>DAPR_HTTP_ENDPOINT</c>, <c>DAPR_HTTP_PORT</c>).</summary>
    public string HttpEndpoint { get; set; } = "";

    /// <summary>Address of the sidecar's gRPC API (<c>DAPR_GRPC_ENDPOINT</c>, <c>DAPR_GRPC_PORT</c>).</summary>
    public string GrpcEndpoint { get; set; } = "";

    /// <summary>What this process shows the sidecar (<c>DAPR_API_TOKEN</c>).</summary>
    public string ApiToken { get; set; } = "";

    /// <summary>What the sidecar must show this process (<c>APP_API_TOKEN</c>).</summary>
    public string AppToken { get; set; } = "";

    /// <summary>Pub/sub component whose consumers share events among the instances of an app id.</summary>
    public string PubSub { get; set; } = "pubsub";

    /// <summary>Pub/sub component on the same broker that gives every instance every event (<c>consumerID: "{uuid}"</c>).</summary>
    public string News { get; set; } = "news";

    /// <summary>State store.</summary>
    public string StateStore { get; set; } = "statestore";

    /// <summary>Secret store.</summary>
    public string SecretStore { get; set; } = "secrets";

    /// <summary>Secret store of target credentials, which the sidecars of proxies have and no other.</summary>
    public string TargetSecretStore { get; set; } = "target-credentials";

    /// <summary>Configuration store that a few settings may come from where the process was started without them (<see cref="DaprConfiguration"/>); empty for none.</summary>
    public string ConfigurationStore { get; set; } = "";

    /// <summary>
    /// True where subscriptions are resources of the sidecar (<c>components/resources/subscription-*.yaml</c>), so that the app must not name them itself: it would get
    /// everything twice.
    /// </summary>
    public bool DeclarativeSubscriptions { get; set; } = true;

    /// <summary>Longest wait for the sidecar to take an event or a write, in seconds.</summary>
    public int TimeoutSeconds { get; set; } = 5;

    /// <summary>Options as a configuration has them.</summary>
    public static DaprOptions Read(IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var options = configuration.GetSection(Section).Get<DaprOptions>() ?? new DaprOptions();
        options.HttpEndpoint = First(options.HttpEndpoint, configuration["DAPR_HTTP_ENDPOINT"], Local(configuration["DAPR_HTTP_PORT"] ?? "3500"));
        options.GrpcEndpoint = First(options.GrpcEndpoint, configuration["DAPR_GRPC_ENDPOINT"], Local(configuration["DAPR_GRPC_PORT"] ?? "50001"));
        options.ApiToken = First(options.ApiToken, configuration["DAPR_API_TOKEN"], "");
        options.AppToken = First(options.AppToken, configuration["APP_API_TOKEN"], "");
        options.HttpEndpoint = options.HttpEndpoint.TrimEnd('/');
        options.GrpcEndpoint = options.GrpcEndpoint.TrimEnd('/');
        return options;

        static string First(string? one, string? other, string last) => one is { Length: > 0 } ? one : other is { Length: > 0 } ? other : last;

        static string Local(string port) => $"http://127.0.0.1:{port}";
    }

    /// <summary>What is wrong with an address that tokens are sent to; null where nothing is.</summary>
    internal static string? WrongAddress(string value) =>
        !Uri.TryCreate(value, UriKind.Absolute, out var address) || (address.Scheme != Uri.UriSchemeHttp && address.Scheme != Uri.UriSchemeHttps) ? "an http or https address"
        : address.Scheme == Uri.UriSchemeHttp && !address.IsLoopback ? "off loopback only https, since tokens go along"
        : null;

    /// <summary>What is wrong; nothing of a token is in the texts.</summary>
    internal IEnumerable<string> Errors()
    {
        foreach (var (name, value) in new[] { (nameof(HttpEndpoint), HttpEndpoint), (nameof(GrpcEndpoint), GrpcEndpoint) })
        {
            if (WrongAddress(value) is { } wrong)
            {
                yield return $"{Section}:{name}: {wrong}";
            }
        }

        foreach (var (name, value) in new[] { (nameof(ApiToken), ApiToken), (nameof(AppToken), AppToken) })
        {
            if (value.Length < MinToken)
            {
                yield return $"{Section}:{name}: at least {MinToken} characters (a sidecar and its app must know each other)";
            }
        }

        if (ApiToken.Length > 0 && ApiToken == AppToken)
        {
            yield return $"{Section}:{nameof(AppToken)}: must differ from {nameof(ApiToken)}";
        }

        foreach (var (name, value) in new[] { (nameof(PubSub), PubSub), (nameof(News), News), (nameof(StateStore), StateStore), (nameof(SecretStore), SecretStore), (nameof(TargetSecretStore), TargetSecretStore) })
        {
            if (value.Length == 0)
            {
                yield return $"{Section}:{name}: name of a component";
            }
        }

        if (TimeoutSeconds is < 1 or > 60)
        {
            yield return $"{Section}:{nameof(TimeoutSeconds)}: 1 to 60";
        }
    }
}

/// <summary>Stops the process at start where the options are wrong.</summary>
internal sealed class DaprOptionsCheck(DaprOptions options, IConfiguration configuration) : IValidateOptions<DaprOptions>
{
    public ValidateOptionsResult Validate(string? name, DaprOptions _) =>
        options.Errors().Concat(InvocationClients.Errors(configuration)).ToList() is { Count: > 0 } errors ? ValidateOptionsResult.Fail(errors) : ValidateOptionsResult.Success;
}
