using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;
using Countersign.Policy.Language;
using Countersign.Proxy.Path.Decide;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>
/// Follows policy: its beacon, and the bundle that it names. A bundle is enforced only with policy's signature and approval's grant (I3), and never
/// one older than the highest seen (I8). A bundle that fails leaves the one in force, and the beacon that names it isn't taken as word.
/// </summary>
internal sealed partial class BundleWatch(
    [FromKeyedServices(AppIds.Proxy)] IServiceClients clients, ITrustedKeys keys, HighestBundle highest, Freshness freshness, GrantWatch grants, TimeProvider clock,
    IOptions<ProxyOptions> options, ILogger<BundleWatch> logger) : ServiceWatch("countersign.bundle", options.Value.AskEvery, clock), IBundleSource
{
    private readonly BundleVerifier _verifier = new(keys);
    private BundleInForce? _current;
    private ControlTerms? _control;

    public BundleInForce? Current => Volatile.Read(ref _current);

    internal override async Task FollowAsync(CancellationToken cancellation)
    {
        try
        {
            await FollowBeaconAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception error) when (error is BundleRejectedException or PolicyFormatException)
        {
            LogRejected(error.Message);
        }
    }

    protected override void Unreachable(string error) => LogUnreachable(error);

    private async Task FollowBeaconAsync(CancellationToken cancellation)
    {
        var client = clients.Create(AppIds.Policy);
        var signer = await keys.GetAsync(AppIds.Policy, cancellation).ConfigureAwait(false);
        var beacon = await BeaconAsync(
            client, token => signer.VerifyAsync<PolicyBeacon>(token, TokenTypes.Beacon, null, null, Clock.GetUtcNow(), requireExpiry: false), each => each.IssuedAt,
            cancellation).ConfigureAwait(false);
        // Before anything is remembered of it: a beacon of the future is no word at all.
        freshness.ThrowIfFuture(beacon.IssuedAt);
        if (beacon.Version < highest.Version)
        {
            LogRolledBack(beacon.Version, highest.Version);
            return;
        }

        // Also before the bundle has come: who has heard of it takes no word of less any more.
        highest.Promise(beacon.Version);

        if (beacon.Version > (Current?.Version ?? 0))
        {
            await FetchAsync(client, cancellation).ConfigureAwait(false);
        }

        if ((Current?.Version ?? 0) < beacon.Version)
        {
            // A bundle that verifies may still be an old one, from whoever answered in policy's place: what policy says is in force isn't known here.
            LogWithheld(Current?.Version ?? 0, beacon.Version);
            return;
        }

        freshness.PolicyAt(beacon.IssuedAt);
    }

    private async Task FetchAsync(HttpClient client, CancellationToken cancellation)
    {
        var envelope = await client.GetFromJsonAsync<BundleEnvelope>("v1/bundle", TokenJson.Options, cancellation).ConfigureAwait(false)
            ?? throw new JsonException("empty answer");
        var verified = await _verifier.VerifyAsync(envelope, highest.Mark, Clock.GetUtcNow(), cancellation, _control).ConfigureAwait(false);
        var engine = PolicyEngine.Compile(verified.Bundle);
        highest.Raise(verified.Mark);
        var inForce = new BundleInForce(engine, verified.Bundle.Connections.ToDictionary(each => each.Name, StringComparer.Ordinal));
        _control = ControlTerms.Of(verified.Bundle.Version, engine.Documents);
        Volatile.Write(ref _current, inForce);
        grants.BundleChanged(inForce);
        LogInForce(verified.Bundle.Version, verified.Digest);
    }

    [LoggerMessage(3111, LogLevel.Warning, "Policy can't be followed: {Error}")]
    private partial void LogUnreachable(string error);

    [LoggerMessage(3112, LogLevel.Error, "A bundle was rejected, the one in force stays: {Reason}")]
    private partial void LogRejected(string reason);

    [LoggerMessage(3113, LogLevel.Error, "Policy's version went back from {Highest} to {Version}; its word is not taken")]
    private partial void LogRolledBack(long version, long highest);

    [LoggerMessage(3115, LogLevel.Error, "Policy's beacon names bundle {Promised} and bundle {Version} is all that came; its word is not taken")]
    private partial void LogWithheld(long version, long promised);

    [LoggerMessage(3114, LogLevel.Information, "Bundle {Version} ({Digest}) is in force")]
    private partial void LogInForce(long version, string digest);
}
