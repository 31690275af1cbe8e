using System.Net;
using System.Security.Cryptography.X509Certificates;
using Countersign.Platform.Hosting;
using Countersign.Proxy.Host.ControlPlane;
using Countersign.Proxy.Host.Tls;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Path.Record;
using Countersign.Proxy.Postgres;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Postgres.Gateway;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Sql;
using Microsoft.Extensions.Options;

namespace Countersign.Proxy.Host;

/// <summary>Opens the data path when the process starts and drains it when the process stops.</summary>
internal sealed class ProxyListener(
    IOptions<ProxyOptions> options, GatewayCertificate certificate, INativeLogins logins, IConnections connections, ISessionAdmission admission,
    SqlParser parser, PostgresCatalogs catalogs, IDecider decider, IApprovals approvals, RunningGrants running, Spool spool, ISessionRecorder recorder, SessionRegistry sessions, IBundleSource bundles,
    IFreshness freshness, Stopping stopping, TimeProvider clock, ILogger<PostgresListener> logger) : IHostedLifecycleService, IAsyncDisposable
{
    private readonly ProxyOptions _options = options.Value;
    private PostgresListener? _postgres;

    /// <summary>Where PostgreSQL clients connect; null before the start.</summary>
    public IPEndPoint? PostgresEndPoint => _postgres?.EndPoint;

    /// <summary>Reads what is asked for ahead of time; null before the start.</summary>
    public PostgresAhead? Ahead { get; private set; }

    /// <summary>Why the proxy can't take sessions; null where it can.</summary>
    public string? Problem =>
        _postgres is null ? "the PostgreSQL listener is not open"
        : spool.Problem is { } broken ? broken
        : !freshness.IsFresh ? freshness.Problem
        : null;

    /// <summary>Whether a bundle is enforced: before the first one everything is denied.</summary>
    public bool HasBundle => bundles.Current is not null;

    public Task StartAsync(CancellationToken cancellationToken)
    {
        var settings = new PostgresOptions
        {
            Listen = new IPEndPoint(IPAddress.Parse(_options.PostgresAddress), _options.PostgresPort),
            Certificate = certificate.Certificate,
            Intermediates = new X509Certificate2Collection(),
            ProxyId = _options.Id,
            MaxSessions = _options.MaxSessions,
            DrainTimeout = _options.DrainTimeout,
        };
        var services = new PostgresServices
        {
            Logins = logins,
            Connections = connections,
            Admission = admission,
            Parser = parser,
            Catalogs = catalogs,
            Decider = decider,
            Approvals = approvals,
            Running = running,
            Recorder = recorder,
            Clock = clock,
        };
        _postgres = new PostgresListener(settings, services, logger);
        Ahead = new PostgresAhead(services, settings);
        _postgres.Start();
        return Task.CompletedTask;
    }

    /// <summary>Drains before anything stops: what runs still needs its record, and in one process the other services are behind the same web server.</summary>
    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        // Until balancers have turned away, new sessions are taken.
        await stopping.WaitAsync().ConfigureAwait(false);
        sessions.Drain();
        if (_postgres is { } postgres)
        {
            await postgres.StopAsync().ConfigureAwait(false);
        }
    }

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        if (_postgres is { } postgres)
        {
            await postgres.DisposeAsync().ConfigureAwait(false);
        }
    }
}
