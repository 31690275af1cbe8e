using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Identity.Persons;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language;

namespace Countersign.Identity.Host;

/// <summary>
/// Who must agree to a change of who counts as whom (I3): what the settings of the bundle in force say. Identity verifies the bundle itself, as proxies do, and
/// remembers the highest that it has seen. Where it can't be known nothing is asked for, and nothing applied; before the first bundle it is one other enrolled person.
/// </summary>
internal sealed partial class ControlTermsInForce(
    [FromKeyedServices(AppIds.Identity)] IStateStore store, [FromKeyedServices(AppIds.Identity)] IServiceClients clients, ITrustedKeys keys, TimeProvider time,
    ILogger<ControlTermsInForce> logger)
{
    private const string Key = "highest";
    private const string NoBundle = "no-bundle";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true };
    private readonly Documents<BundleMark> _marks = new(store, "bundle-mark");
    private readonly BundleVerifier _verifier = new(keys);
    private ControlTerms? _known;

    /// <summary>What holds now.</summary>
    /// <exception cref="IdentityException">503: it can't be known.</exception>
    public async ValueTask<ControlTerms> GetAsync(CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Patience);
        try
        {
            return await AskAsync(limit.Token);
        }
        catch (Exception error) when (error is HttpRequestException or IOException or JsonException or NotSupportedException or PortUnavailableException or BundleRejectedException
            or PolicyFormatException or TokenRejectedException || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            LogUnknown(error.Message);
            throw new IdentityException(
                503, "control-terms-unknown", "Who must agree to this can't be known now: the bundle in force can't be had from policy, or isn't one. Nothing was changed; try again.");
        }
    }

    /// <summary>Looks whether there is a newer bundle, so that policy can't deny later that there was one.</summary>
    public async Task LookAsync(CancellationToken cancellation)
    {
        try
        {
            var policy = await keys.GetAsync(AppIds.Policy, cancellation);
            var token = await clients.Create(AppIds.Policy).GetFromJsonAsync<string>("v1/beacon", Json, cancellation) ?? "";
            var beacon = await policy.VerifyAsync<PolicyBeacon>(token, TokenTypes.Beacon, null, null, time.GetUtcNow(), requireExpiry: false);
            if (beacon.Version > ((await _marks.FindAsync(Key, cancellation))?.Version ?? 0))
            {
                await GetAsync(cancellation);
            }
        }
        catch (Exception error) when (error is HttpRequestException or IOException or JsonException or PortUnavailableException or TokenRejectedException or IdentityException)
        {
            LogUnknown(error.Message);
        }
    }

    private async ValueTask<ControlTerms> AskAsync(CancellationToken cancellation)
    {
        var highest = await _marks.FindAsync(Key, cancellation);
        using var response = await clients.Create(AppIds.Policy).GetAsync(new Uri("v1/bundle", UriKind.Relative), cancellation);
        if (response.StatusCode == HttpStatusCode.NotFound)
        {
            // Any other 404 is some server's that isn't policy, or a sidecar's.
            var problem = await response.Content.ReadFromJsonAsync<JsonElement>(Json, cancellation);
            return highest is null && problem.ValueKind == JsonValueKind.Object && problem.TryGetProperty("code", out var code) && code.GetString() == NoBundle
                ? ControlTerms.Default
                : throw new BundleRejectedException("policy says that there is no bundle");
        }

        response.EnsureSuccessStatusCode();
        var envelope = await response.Content.ReadFromJsonAsync<BundleEnvelope>(Json, cancellation) ?? throw new JsonException("empty answer");
        var verified = await _verifier.VerifyAsync(envelope, highest, time.GetUtcNow(), cancellation, Volatile.Read(ref _known));
        var terms = ControlTerms.Of(verified.Bundle);
        if (verified.Mark != highest)
        {
            // Another replica may have seen a newer one in between.
            await _marks.ChangeAsync(Key, known => known is null || known.Version < verified.Mark.Version ? verified.Mark : null, cancellation);
        }

        Volatile.Write(ref _known, terms);
        return terms;
    }

    [LoggerMessage(2140, LogLevel.Warning, "Who must agree to changes can't be known now: {Reason}")]
    private partial void LogUnknown(string reason);
}
