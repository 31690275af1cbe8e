using System.Net.Sockets;
using Countersign.Platform.Ports;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Countersign.Platform.Postgres;

/// <summary>
/// The database of one service: a bounded pool of connections to a schema that is up to date. Whatever goes wrong with the database is a
/// <see cref="PortUnavailableException"/>: callers fail closed, and the next use tries again.
/// </summary>
public sealed partial class PostgresDatabase : IDisposable, IAsyncDisposable
{
    private readonly PostgresSettings _settings;
    private readonly IReadOnlyList<SchemaComponent> _components;
    private readonly ILogger _logger;
    private readonly NpgsqlDataSource _source;
    private readonly string? _role;
    private readonly Lock _gate = new();
    private readonly Lock _bringingGate = new();
    private volatile bool _isUpToDate;
    private Task _bringing = Task.CompletedTask;

    /// <summary>A database that nobody has connected to yet.</summary>
    /// <param name="settings">Checked settings.</param>
    /// <param name="schema">Schema of the service.</param>
    /// <param name="components">What must be in the schema.</param>
    /// <param name="logger">Log.</param>
    public PostgresDatabase(PostgresSettings settings, string schema, IReadOnlyList<SchemaComponent> components, ILogger<PostgresDatabase> logger)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentException.ThrowIfNullOrEmpty(schema);
        (_settings, _components, _logger, Schema) = (settings, components, logger, schema);
        var service = settings.Service(schema);
        _role = service.Username == settings.SchemaOwner(schema).Username ? null : service.Username;
        Quoted = Migrator.Quote(schema);
        var builder = new NpgsqlDataSourceBuilder(service.ConnectionString) { Name = schema };
        _source = service.Host!.Contains(',', StringComparison.Ordinal)
            ? builder.BuildMultiHost().WithTargetSession(TargetSessionAttributes.Primary)
            : builder.Build();
    }

    /// <summary>Schema of the service.</summary>
    public string Schema { get; }

    /// <summary>The schema's name as it stands in statements.</summary>
    public string Quoted { get; }

    /// <summary>How long a start may wait for the database.</summary>
    public TimeSpan StartTimeout => TimeSpan.FromSeconds(_settings.StartTimeoutSeconds);

    /// <summary>A connection. The first one of the process brings the schema up to date.</summary>
    /// <exception cref="PortUnavailableException">The database can't be reached.</exception>
    /// <exception cref="SchemaVersionException">The schema is not for this program.</exception>
    public async ValueTask<NpgsqlConnection> OpenAsync(CancellationToken cancellation)
    {
        try
        {
            if (!_isUpToDate)
            {
                await BeginBringingUpToDate().WaitAsync(cancellation).ConfigureAwait(false);
            }

            return await _source.OpenConnectionAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception error) when (IsFailure(error))
        {
            throw Unavailable(error);
        }
    }

    /// <inheritdoc cref="OpenAsync"/>
    public NpgsqlConnection Open()
    {
        try
        {
            if (!_isUpToDate)
            {
                BringUpToDate();
            }

            return _source.OpenConnection();
        }
        catch (Exception error) when (IsFailure(error))
        {
            throw Unavailable(error);
        }
    }

    /// <summary>Waits until the database answers and the schema is up to date.</summary>
    /// <exception cref="PortUnavailableException">It did not within <see cref="StartTimeout"/>.</exception>
    /// <exception cref="SchemaVersionException">The schema is not for this program.</exception>
    public void WaitUntilReady(CancellationToken cancellation)
    {
        var began = TimeProvider.System.GetTimestamp();
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                Open().Dispose();
                return;
            }
            catch (PortUnavailableException error) when (TimeProvider.System.GetElapsedTime(began) < StartTimeout)
            {
                if (attempt == 0)
                {
                    LogWaiting(Schema, error.Message);
                }

                cancellation.WaitHandle.WaitOne(TimeSpan.FromSeconds(1));
                cancellation.ThrowIfCancellationRequested();
            }
        }
    }

    /// <summary>Null where the database answers, else why not; no secrets. For readiness.</summary>
    public async ValueTask<string?> ProblemAsync(CancellationToken cancellation)
    {
        try
        {
            await using var connection = await OpenAsync(cancellation).ConfigureAwait(false);
            await using var command = new NpgsqlCommand("SELECT pg_is_in_recovery()", connection);
            return (bool)(await command.ExecuteScalarAsync(cancellation).ConfigureAwait(false))! ? "PostgreSQL is a standby: nothing can be written" : null;
        }
        catch (Exception error) when (error is PortUnavailableException || IsFailure(error))
        {
            return error is PortUnavailableException ? error.Message : Unavailable(error).Message;
        }
        catch (SchemaVersionException error)
        {
            return error.Message;
        }
    }

    /// <summary>Whether an exception says that the database failed, and not the caller.</summary>
    public static bool IsFailure(Exception error) => error is NpgsqlException or TimeoutException or IOException or SocketException or ObjectDisposedException;

    /// <summary>The exception for whoever needed the database. Its message names what is wrong without anything secret.</summary>
    public PortUnavailableException Unavailable(Exception error)
    {
        // Connections that were idle while the server went away are all broken: one failure is enough for them.
        if (error is not PostgresException { SqlState: [not '0' and not '5', ..] })
        {
            _source.Clear();
        }

        return new PortUnavailableException($"The database of {Schema} can't be used now ({Reason(error)}).", error);
    }

    /// <inheritdoc/>
    public void Dispose() => _source.Dispose();

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _source.DisposeAsync();

    private static string Reason(Exception error) => error switch
    {
        PostgresException { SqlState: "57014" } => "a statement took too long",
        PostgresException { SqlState: "55P03" or "40P01" or "40001" } => "it waited too long for others",
        PostgresException { SqlState: "25006" } => "it is a standby",
        PostgresException { SqlState: "42501" } => "the role lacks a privilege",
        PostgresException { SqlState: ['2', '8', ..] } => "the login was refused",
        PostgresException { SqlState: ['5', '3', ..] } => "the server has no room or no connection left",
        PostgresException other => $"SQLSTATE {other.SqlState}",
        NpgsqlException { InnerException: TimeoutException } or TimeoutException => "it did not answer in time",
        _ => "it can't be reached",
    };

    // One for all that wait: each on a thread of its own would use up the pool.
    private Task BeginBringingUpToDate()
    {
        lock (_bringingGate)
        {
            return _bringing.IsCompleted ? _bringing = Task.Run(BringUpToDate) : _bringing;
        }
    }

    private void BringUpToDate()
    {
        lock (_gate)
        {
            if (_isUpToDate)
            {
                return;
            }

            var owner = _settings.SchemaOwner(Schema);
            using var source = owner.Host!.Contains(',', StringComparison.Ordinal)
                ? new NpgsqlDataSourceBuilder(owner.ConnectionString).BuildMultiHost().WithTargetSession(TargetSessionAttributes.Primary)
                : NpgsqlDataSource.Create(owner.ConnectionString);
            using var connection = source.OpenConnection();
            var applied = Migrator.Apply(connection, Schema, _components, _role);
            if (applied > 0)
            {
                LogMigrated(Schema, applied);
            }

            _isUpToDate = true;
        }
    }

    [LoggerMessage(1120, LogLevel.Information, "Schema {Schema} was brought up to date by {Count} steps")]
    private partial void LogMigrated(string schema, int count);

    [LoggerMessage(1121, LogLevel.Warning, "Waiting for the database of {Schema}: {Reason}")]
    private partial void LogWaiting(string schema, string reason);
}
