using System.Diagnostics.Metrics;
using Countersign.Proxy.Host.ControlPlane;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Record;
using Countersign.Proxy.Postgres.Ports;

namespace Countersign.Proxy.Host;

/// <summary>What the proxy knows of its present, read when somebody collects it, and the results of logins (docs/operations/telemetry.md).</summary>
internal sealed class ProxyMetrics : IHostedService
{
    private readonly Counter<long> _logins;

    public ProxyMetrics(IMeterFactory meters, Freshness freshness, IBundleSource bundles, Spool spool)
    {
        // Of the container: it ends with it, and so do the gauges.
        var meter = meters.Create("Countersign.Proxy");
        _logins = meter.CreateCounter<long>("countersign.proxy.logins", "{login}", "Logins of native clients");
        meter.CreateObservableGauge("countersign.proxy.bundle.version", () => bundles.Current?.Version ?? 0, null, "Version of the bundle that is enforced; 0 before the first");
        meter.CreateObservableGauge("countersign.proxy.beacon.age", () => Ages(freshness), "s", "Age of the latest beacon, by service that signed it");
        meter.CreateObservableGauge("countersign.proxy.spool.usage", () => spool.DiskBytes, "By", "Bytes that the spool takes on disk");
        meter.CreateObservableGauge("countersign.proxy.spool.failed", () => spool.Problem is null ? 0 : 1, null, "1 while the spool can't take new sessions");
    }

    /// <summary>Counts a login.</summary>
    /// <param name="failure">How it ended.</param>
    public void LoggedIn(LoginFailure failure) => Count(failure switch
    {
        LoginFailure.None => "ok",
        LoginFailure.Rejected => "rejected",
        LoginFailure.Expired => "expired",
        LoginFailure.Revoked => "revoked",
        LoginFailure.ConnectionNotAllowed => "connection-not-allowed",
        _ => "other",
    });

    /// <summary>Counts a login that could not be checked.</summary>
    public void LoginUnavailable() => Count("unavailable");

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    private void Count(string result) => _logins.Add(1, new KeyValuePair<string, object?>("countersign.result", result));

    // None before the first beacon: an age of decades would say less than no figure.
    private static IEnumerable<Measurement<double>> Ages(Freshness freshness)
    {
        foreach (var (service, age) in new[] { ("policy", freshness.PolicyAge), ("identity", freshness.IdentityAge) })
        {
            if (age is { } known)
            {
                yield return new Measurement<double>(known.TotalSeconds, new KeyValuePair<string, object?>("countersign.service", service));
            }
        }
    }
}

/// <summary>Logins that are counted.</summary>
internal sealed class MeasuredLogins(HttpNativeLogins inner, ProxyMetrics metrics) : INativeLogins
{
    public ValueTask<Identity.Contracts.NativeLoginChallenge> BeginAsync(Identity.Contracts.BeginNativeLogin request, CancellationToken cancellation) =>
        TellingAsync(inner.BeginAsync(request, cancellation));

    public async ValueTask<NativeLoginOutcome> CompleteAsync(string loginId, Identity.Contracts.CompleteNativeLogin request, CancellationToken cancellation)
    {
        var outcome = await TellingAsync(inner.CompleteAsync(loginId, request, cancellation)).ConfigureAwait(false);
        metrics.LoggedIn(outcome.Failure);
        return outcome;
    }

    private async ValueTask<T> TellingAsync<T>(ValueTask<T> asked)
    {
        try
        {
            return await asked.ConfigureAwait(false);
        }
        catch (LoginUnavailableException)
        {
            metrics.LoginUnavailable();
            throw;
        }
    }
}
