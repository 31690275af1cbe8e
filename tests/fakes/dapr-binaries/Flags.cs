namespace Countersign.Fakes.DaprBinaries;

/// <summary>Command line of a program of Dapr: <c>--name=value</c>, as its 1.18 knows it. An unknown or malformed flag ends the program, as it ends the real one.</summary>
internal sealed class Flags
{
    // Those that cluster.sh and docker-compose.yml use, by program.
    private static readonly Dictionary<string, string[]> Known = new()
    {
        ["sentry"] = ["issuer-credentials", "trust-domain", "listen-address", "port", "healthz-port", "healthz-listen-address", "metrics-port", "metrics-listen-address"],
        ["placement"] =
        [
            "id", "listen-address", "port", "initial-cluster", "healthz-port", "healthz-listen-address", "metrics-port", "metrics-listen-address",
            "tls-enabled", "sentry-address", "trust-anchors-file", "trust-domain",
        ],
        ["scheduler"] =
        [
            "id", "listen-address", "port", "override-broadcast-host-port", "healthz-port", "healthz-listen-address", "metrics-port", "metrics-listen-address",
            "etcd-data-dir", "etcd-client-port", "etcd-initial-cluster", "identity-directory-write", "tls-enabled", "sentry-address", "trust-anchors-file", "trust-domain",
        ],
        ["daprd"] =
        [
            "mode", "app-id", "app-port", "app-protocol", "app-channel-address", "dapr-http-port", "dapr-grpc-port", "dapr-listen-addresses", "dapr-internal-grpc-port",
            "dapr-internal-grpc-listen-address", "metrics-port", "metrics-listen-address", "profile-port", "placement-host-address", "scheduler-host-address", "enable-mtls",
            "sentry-address", "control-plane-trust-domain", "control-plane-namespace", "resources-path", "config", "enable-app-health-check", "app-health-check-path",
            "app-health-probe-interval", "app-health-threshold", "max-body-size", "read-buffer-size",
        ],
    };

    private readonly ILookup<string, string> _values;

    private Flags(IEnumerable<(string Name, string Value)> flags) => _values = flags.ToLookup(each => each.Name, each => each.Value);

    public static Flags Parse(string program, IEnumerable<string> arguments)
    {
        var flags = arguments.Select(argument =>
            argument.StartsWith("--", StringComparison.Ordinal) && argument.IndexOf('=', StringComparison.Ordinal) is var at and > 2
                ? (argument[2..at], argument[(at + 1)..])
                : throw new ArgumentException($"unknown flag: {argument}")).ToList();
        return flags.FirstOrDefault(flag => !Known[program].Contains(flag.Item1)) is (string unknown, _)
            ? throw new ArgumentException($"unknown flag: --{unknown}")
            : new Flags(flags);
    }

    public string this[string name] => _values[name].LastOrDefault() ?? throw new ArgumentException($"missing flag: --{name}");

    public IEnumerable<string> All(string name) => _values[name];

    public int Port(string name) => int.Parse(this[name], System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>A value that must be as it should, or the program ends.</summary>
    public void Expect(string name, string value)
    {
        if (this[name] != value)
        {
            throw new ArgumentException($"--{name} is {this[name]}, not {value}");
        }
    }

    /// <summary>A file or folder that must be there.</summary>
    public static void ExpectFile(string path)
    {
        if (!File.Exists(path) && !Directory.Exists(path))
        {
            throw new ArgumentException($"{path} does not exist");
        }
    }
}
