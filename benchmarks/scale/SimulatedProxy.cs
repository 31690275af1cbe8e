using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Host;
using Countersign.Proxy.Host.ControlPlane;
using Countersign.Proxy.Path;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Countersign.Benchmarks.Scale;

/// <summary>
/// What the control plane sees of one proxy. Its watches are the product's own, so that they ask when a proxy asks; a bundle is read to its last byte and hashed,
/// but not compiled: a real proxy does that on a machine of its own.
/// </summary>
internal sealed class SimulatedProxy : IServiceClients, IDisposable
{
    private readonly Dictionary<string, HttpClient> _clients = new(StringComparer.Ordinal);
    private readonly RevocationWatch _revocations;
    private readonly BundlePull _bundles;
    private readonly IOptions<ProxyOptions> _options;

    public SimulatedProxy(string id, string folder, IReadOnlyDictionary<string, Uri> services, ITrustedKeys keys, Traffic traffic)
    {
        Id = id;
        Key = SigningKey.Create();
        var tokens = new ServiceTokens(AppIds.Proxy, Key, TimeProvider.System);
        foreach (var (appId, address) in services)
        {
            // Disposed with the client.
#pragma warning disable CA2000
            var handler = new CountingHandler(appId, tokens, traffic, new SocketsHttpHandler { UseCookies = false, UseProxy = false, ConnectTimeout = TimeSpan.FromSeconds(5) });
#pragma warning restore CA2000
            _clients[appId] = new HttpClient(handler) { BaseAddress = new Uri(address, appId + "/"), Timeout = TimeSpan.FromSeconds(40) };
        }

        _options = Options.Create(new ProxyOptions { Id = id, Data = Path.Combine(folder, id) });
        Freshness = new Freshness(_options, TimeProvider.System);
        _revocations = new RevocationWatch(
            this, keys, new HighestRevocation(_options), Freshness, Sessions, TimeProvider.System, _options, NullLogger<RevocationWatch>.Instance);
        _bundles = new BundlePull(this, keys, Freshness, _options);
    }

    public string Id { get; }

    public SigningKey Key { get; }

    public Freshness Freshness { get; }

    public SessionRegistry Sessions { get; } = new();

    /// <summary>Version of the bundle that it has, and when it had it.</summary>
    public (long Version, DateTimeOffset At) Bundle => _bundles.Have;

    public HttpClient Create(string appId) => _clients[appId];

    public async Task StartAsync(CancellationToken cancellation)
    {
        await _revocations.StartAsync(cancellation);
        await _bundles.StartAsync(cancellation);
    }

    public Task StopAsync() => Task.WhenAll(_revocations.StopAsync(CancellationToken.None), _bundles.StopAsync(CancellationToken.None));

    /// <summary>An event of the bus.</summary>
    public async ValueTask HearAsync(BusEvent happened)
    {
        switch (happened.Topic)
        {
            case Topics.Policy:
                await _bundles.OnEventAsync(happened);
                break;
            case Topics.Identity:
                await _revocations.OnEventAsync(happened);
                break;
        }
    }

    public void Dispose()
    {
        _revocations.Dispose();
        _bundles.Dispose();
        Key.Dispose();
        foreach (var client in _clients.Values)
        {
            client.Dispose();
        }
    }

    private sealed class BundlePull(IServiceClients clients, ITrustedKeys keys, Freshness freshness, IOptions<ProxyOptions> options)
        : ServiceWatch("countersign.bundle", options.Value.AskEvery, TimeProvider.System)
    {
        private (long Version, DateTimeOffset At) _have;

        public (long Version, DateTimeOffset At) Have
        {
            get
            {
                lock (this)
                {
                    return _have;
                }
            }
        }

        internal override async Task FollowAsync(CancellationToken cancellation)
        {
            var client = clients.Create(AppIds.Policy);
            var signer = await keys.GetAsync(AppIds.Policy, cancellation);
            var beacon = await BeaconAsync(
                client, token => signer.VerifyAsync<PolicyBeacon>(token, TokenTypes.Beacon, null, null, Clock.GetUtcNow(), requireExpiry: false), each => each.IssuedAt, cancellation);
            if (beacon.Version > Have.Version)
            {
                var envelope = await client.GetFromJsonAsync<BundleEnvelope>("v1/bundle", TokenJson.Options, cancellation) ?? throw new JsonException("empty answer");
                SHA256.HashData(System.Text.Encoding.ASCII.GetBytes(envelope.Payload));
                lock (this)
                {
                    _have = (beacon.Version, DateTimeOffset.UtcNow);
                }
            }

            freshness.PolicyAt(beacon.IssuedAt);
        }

        protected override void Unreachable(string error)
        {
        }
    }
}
