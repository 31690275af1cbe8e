using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Countersign.Approval.Contracts;
using Countersign.Fakes.Postgres;
using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Path.Record;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Native;
using Countersign.Recorder.Contracts;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>A listener with everything behind it in memory, in front of a real or scripted target.</summary>
internal sealed class Gateway : IAsyncDisposable
{
    public const string User = "alice-7kq2";
    public const string Secret = "k3cF0PzqUQ7xO9aLwT2mVg";
    public const string Connection = "demo";
    public static readonly SqlParser Parser = new(LibPgQuery.Load());
    private readonly PostgresListener _listener;

    public Gateway(int targetPort, PostgresOptions? options = null, TimeProvider? clock = null, TargetAccess? target = null, bool masks = false, IPAddress? listen = null)
    {
        Logins = new MemoryLogins();
        Logins.Add(User, Secret, Connection);
        Connections = new MemoryConnections();
        Connections.Targets[Connection] = target ?? new TargetAccess
        {
            Connection = Connection,
            Host = "127.0.0.1",
            Port = targetPort,
            Database = "postgres",
            VerifyTls = false,
            Credential = new TargetCredential(PostgresServer.Superuser, null),
        };
        clock ??= TimeProvider.System;
        Recorder = new MemoryRecorder();
        Approvals = new MemoryApprovals(clock);
        Services = new PostgresServices
        {
            Logins = Logins,
            Connections = Connections,
            Admission = Admission,
            Parser = Parser,
            Catalogs = masks ? new PostgresCatalogs(text => Parser.AnalyzeAsync(Encoding.UTF8.GetBytes(text)).AsTask().GetAwaiter().GetResult(), clock) : null,
            Decider = Decider,
            Approvals = Approvals,
            Running = Running,
            Recorder = Recorder,
            Clock = clock,
        };
        _listener = new PostgresListener(
            (options ?? new PostgresOptions()) with { Listen = new IPEndPoint(listen ?? IPAddress.Loopback, 0), DrainTimeout = TimeSpan.Zero }, Services, new ConsoleLog());
        _listener.Start();
    }

    public int Port => _listener.EndPoint.Port;

    public PostgresListener Listener => _listener;

    public PostgresServices Services { get; }

    public MemoryLogins Logins { get; }

    public MemoryConnections Connections { get; }

    public MemoryAdmission Admission { get; } = new();

    public FunctionDecider Decider { get; } = new();

    public MemoryApprovals Approvals { get; }

    public RunningGrants Running { get; } = new();

    public MemoryRecorder Recorder { get; }

    public string ConnectionString(string extra = "") =>
        $"Host=127.0.0.1;Port={Port};Username={User};Password={Secret};Database={Connection};SSL Mode=Disable;Pooling=false;Timeout=15;Command Timeout=20;{extra}";

    public async Task<NpgsqlConnection> OpenAsync(string extra = "")
    {
        var connection = new NpgsqlConnection(ConnectionString(extra));
        await connection.OpenAsync();
        return connection;
    }

    public Task<string> PsqlAsync(string script, params string[] arguments) => PostgresServer.RunAsync(
        "psql", ["-X", "-A", "-t", "-v", "VERBOSITY=verbose", "-h", "127.0.0.1", "-p", Port.ToString(System.Globalization.CultureInfo.InvariantCulture), "-U", User, "-d", Connection, .. arguments],
        new Dictionary<string, string> { ["PGPASSWORD"] = Secret, ["PGSSLMODE"] = "disable", ["PGGSSENCMODE"] = "disable", ["PGCONNECT_TIMEOUT"] = "10" }, script);

    /// <summary>What pgbench has to say about its clients that were ended.</summary>
    public async Task<string> PgBenchAsync(params string[] arguments)
    {
        var start = new System.Diagnostics.ProcessStartInfo(System.IO.Path.Combine(PostgresServer.Programs, "pgbench")) { RedirectStandardError = true, RedirectStandardOutput = true, WorkingDirectory = "/tmp" };
        foreach (var argument in (IEnumerable<string>)[.. arguments, $"host=127.0.0.1 port={Port} user={User} dbname={Connection} sslmode=disable gssencmode=disable"])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["PGPASSWORD"] = Secret;
        using var process = System.Diagnostics.Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = await process.StandardError.ReadToEndAsync();
        await output;
        await process.WaitForExitAsync();
        return errors;
    }

    public async ValueTask DisposeAsync() => await _listener.DisposeAsync();
}

/// <summary>Shows what nobody foresaw.</summary>
internal sealed class ConsoleLog : ILogger<PostgresListener>
{
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Error;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            Console.Error.WriteLine($"{formatter(state, exception)} {exception}");
        }
    }
}

/// <summary>Real SCRAM verifiers, as identity keeps them.</summary>
internal sealed class MemoryLogins : INativeLogins
{
    private readonly ConcurrentDictionary<string, Verifier> _verifiers = new();
    private readonly ConcurrentDictionary<string, (string User, string Connection)> _open = new();

    public LoginFailure FailWith { get; set; }

    public bool Down { get; set; }

    public void Add(string user, string secret, string connection)
    {
        var salt = RandomNumberGenerator.GetBytes(16);
        var salted = Rfc2898DeriveBytes.Pbkdf2(Encoding.UTF8.GetBytes(secret), salt, 4096, HashAlgorithmName.SHA256, 32);
        _verifiers[user] = new Verifier(
            salt, SHA256.HashData(HMACSHA256.HashData(salted, "Client Key"u8)), HMACSHA256.HashData(salted, "Server Key"u8), connection);
    }

    public ValueTask<NativeLoginChallenge> BeginAsync(BeginNativeLogin request, CancellationToken cancellation)
    {
        if (Down)
        {
            throw new LoginUnavailableException("identity is down");
        }

        var id = Guid.NewGuid().ToString("N");
        _open[id] = (request.UserName, request.Connection);
        var salt = _verifiers.TryGetValue(request.UserName, out var known) ? known.Salt : SHA256.HashData(Encoding.UTF8.GetBytes("mock" + request.UserName))[..16];
        return ValueTask.FromResult(new NativeLoginChallenge(id, Convert.ToBase64String(salt), 4096, Convert.ToBase64String(RandomNumberGenerator.GetBytes(18))));
    }

    public ValueTask<NativeLoginOutcome> CompleteAsync(string loginId, CompleteNativeLogin request, CancellationToken cancellation)
    {
        if (!_open.TryRemove(loginId, out var open) || !_verifiers.TryGetValue(open.User, out var verifier))
        {
            return ValueTask.FromResult(NativeLoginOutcome.Failed(LoginFailure.Rejected));
        }

        var message = Encoding.UTF8.GetBytes($"{request.ClientFirstBare},{request.ServerFirst},{request.ClientFinalWithoutProof}");
        var key = Convert.FromBase64String(request.ClientProof);
        var signature = HMACSHA256.HashData(verifier.StoredKey, message);
        for (var index = 0; index < key.Length; index++)
        {
            key[index] ^= signature[index];
        }

        if (!CryptographicOperations.FixedTimeEquals(SHA256.HashData(key), verifier.StoredKey))
        {
            return ValueTask.FromResult(NativeLoginOutcome.Failed(LoginFailure.Rejected));
        }

        if (FailWith != LoginFailure.None)
        {
            return ValueTask.FromResult(NativeLoginOutcome.Failed(FailWith));
        }

        if (open.Connection != verifier.Connection && open.Connection != "gone")
        {
            return ValueTask.FromResult(NativeLoginOutcome.Failed(LoginFailure.ConnectionNotAllowed));
        }

        var claims = new SessionAssertionClaims
        {
            Issuer = "identity",
            Audience = "session",
            Subject = "pri_alice",
            Session = request.Session,
            Proxy = "proxy-1",
            Connection = open.Connection,
            Credential = "cre_1",
            Person = "per_alice",
            Name = "alice@example.com",
            Kind = "human",
            AuthenticatedAt = 0,
            IssuedAt = 0,
            ExpiresAt = DateTimeOffset.UtcNow.AddDays(3650).ToUnixTimeSeconds(),
        };
        var result = new NativeLoginResult(Convert.ToBase64String(HMACSHA256.HashData(verifier.ServerKey, message)), "assertion of " + request.Session);
        return ValueTask.FromResult(new NativeLoginOutcome(LoginFailure.None, result, claims));
    }

    private sealed record Verifier(byte[] Salt, byte[] StoredKey, byte[] ServerKey, string Connection);
}

internal sealed class MemoryConnections : IConnections
{
    public Dictionary<string, TargetAccess> Targets { get; } = [];

    public ValueTask<TargetAccess?> OpenAsync(string connection, SessionAssertionClaims claims, CancellationToken cancellation) =>
        ValueTask.FromResult(Targets.GetValueOrDefault(connection));
}

internal sealed class MemoryAdmission : ISessionAdmission
{
    private readonly CancellationTokenSource _ended = new();

    public string? Refuse { get; set; }

    public void EndAll() => _ended.Cancel();

    public AdmittedSession Admit(string session, SessionAssertionClaims claims) => new Admitted(Refuse, _ended.Token);

    public PrincipalFacts Principal(SessionAssertionClaims claims) =>
        new(claims.Subject, claims.Person, claims.Name, claims.Kind, [], null, [], DateTimeOffset.UnixEpoch);

    private sealed class Admitted : AdmittedSession
    {
        public Admitted(string? refused, CancellationToken ended)
        {
            Refused = refused;
            Ended = ended;
        }

        public override CancellationToken Ended { get; }

        public override SessionEnding Ending => new("revoked", "Your access was revoked.");

        protected override void Dispose(bool disposing)
        {
        }
    }
}

/// <summary>A decider by a function over the facts, which tests can swap at any time.</summary>
internal sealed class FunctionDecider : IDecider
{
    private volatile Func<UnderstoodOperation, Decision> _rule = static _ => Allow;

    public static Decision Allow { get; } = new() { Outcome = Outcome.Allow, BundleVersion = 1 };

    public static Decision Hold { get; } = new()
    {
        Outcome = Outcome.RequireApproval,
        BundleVersion = 1,
        Message = "Needs a second person.",
        Rules = [new RuleHit("starter", "hold", Outcome.RequireApproval, 0, "")],
        Terms = new ApprovalTerms { AllOf = [new ApproverRequirement(["dba"], 1)] },
    };

    public Func<UnderstoodOperation, Decision> Rule { set => _rule = value; }

    /// <summary>Denies and holds what has one of these kinds; allows the rest.</summary>
    public void By(string[]? deny = null, string[]? hold = null, Decision? held = null) => Rule = understood =>
    {
        foreach (var statement in understood.Facts.Statements)
        {
            if (statement.Kinds.Any(kind => deny?.Contains(kind) == true))
            {
                return Deny("starter/no-" + statement.Kinds[0].ToLowerInvariant());
            }
        }

        return understood.Facts.Statements.Any(statement => statement.Kinds.Any(kind => hold?.Contains(kind) == true)) ? held ?? Hold : Allow;
    };

    public static Decision Deny(string rule) => new()
    {
        Outcome = Outcome.Deny,
        BundleVersion = 1,
        Message = "Not here.",
        Hint = "Ask for less.",
        Rules = [new RuleHit("starter", rule, Outcome.Deny, 0, "Not here.")],
    };

    public (Decision Decision, MaskPlan Masking) Decide(PathSession session, UnderstoodOperation understood, DateTimeOffset now)
    {
        var decision = _rule(understood);
        return (decision, decision.Outcome == Outcome.Deny ? MaskPlan.None : understood.Masking.Plan(decision.Obligations));
    }
}

internal sealed class MemoryApprovals(TimeProvider clock) : IApprovals
{
    private readonly ConcurrentDictionary<string, Entry> _requests = new();
    private readonly SemaphoreSlim _asked = new(0);

    public ConcurrentQueue<CreateRequest> Asked { get; } = new();

    public ConcurrentQueue<string> Withdrawn { get; } = new();

    public int Redeemed;

    /// <summary>Waits that have begun.</summary>
    public int Waiting;

    /// <summary>Completes when the next request has been made or attached to.</summary>
    public async Task<string> NextAsync()
    {
        Assert.True(await _asked.WaitAsync(TimeSpan.FromSeconds(20)), "nobody asked for approval");
        return _requests.Values.OrderBy(entry => entry.LastAsked).Last().Id;
    }

    public void Decide(string id, bool approve, string comment = "not today")
    {
        var entry = _requests[id];
        entry.Comment = comment;
        entry.State = approve ? RequestState.Approved : RequestState.Denied;
        entry.Decided.TrySetResult();
    }

    public ValueTask<CreateRequestResult> RequestAsync(CreateRequest request, CancellationToken cancellation)
    {
        Asked.Enqueue(request);
        var digests = string.Join(',', request.Operations.Select(operation => operation.Digest));
        var known = _requests.Values.FirstOrDefault(entry => entry.Digests == digests && entry.State is RequestState.Pending or RequestState.Approved && entry.Digests == digests);
        var entry = known ?? new Entry($"apr_{_requests.Count + 1}", request, digests);
        entry.LastAsked = clock.GetTimestamp();
        _requests[entry.Id] = entry;
        _asked.Release();
        return ValueTask.FromResult(new CreateRequestResult(View(entry), known is not null));
    }

    public ValueTask<RequestView> WaitAsync(string request, CancellationToken cancellation) => WaitAsync(request, static _ => { }, cancellation);

    public async ValueTask<RequestView> WaitAsync(string request, Action<RequestView> changed, CancellationToken cancellation)
    {
        var entry = _requests[request];
        entry.Changed = changed;
        Interlocked.Increment(ref Waiting);
        await entry.Decided.Task.WaitAsync(cancellation);
        return View(entry);
    }

    /// <summary>One person agrees, and more are needed.</summary>
    public void Agree(string id)
    {
        var entry = _requests[id];
        entry.Changed?.Invoke(View(entry) with { Version = 2, Decisions = [new RequestDecision("per_bob", "bob", true, clock.GetUtcNow(), "")] });
    }

    public ValueTask<RedeemedGrant> RedeemAsync(string request, RedeemRequest redeem, RedemptionExpectation expected, CancellationToken cancellation)
    {
        var entry = _requests[request];
        lock (entry)
        {
            if (entry.State != RequestState.Approved || entry.Redeemed != redeem.Index || entry.Ask.Operations[redeem.Index].Digest != redeem.Digest)
            {
                throw new RedemptionRefusedException("It was used already.");
            }

            entry.Redeemed++;
            if (entry.Redeemed == entry.Ask.Operations.Count)
            {
                entry.State = RequestState.Consumed;
            }
        }

        Interlocked.Increment(ref Redeemed);
        return ValueTask.FromResult(new RedeemedGrant(
            new GrantClaims
            {
                Id = "grant",
                Issuer = "approval",
                Request = request,
                Kind = RequestKind.Operation,
                Person = expected.Person,
                Connection = expected.Connection,
                Digests = [.. entry.Ask.Operations.Select(operation => operation.Digest)],
                AllOf = entry.Ask.AllOf,
                Approvers = [new GrantApprover("per_bob", "bob", 1)],
                IssuedAt = 0,
                ExpiresAt = long.MaxValue,
            },
            redeem.Digest));
    }

    /// <summary>An access window that was approved; null for none.</summary>
    public AccessWindow? Window { get; set; }

    /// <summary>How often it was opened.</summary>
    public int Opened;

    public ValueTask<IReadOnlyList<RequestView>> ApprovedAsync(string assertion, CancellationToken cancellation)
    {
        if (Window is not { } window)
        {
            return ValueTask.FromResult<IReadOnlyList<RequestView>>([]);
        }

        var ask = new CreateRequest
        {
            Kind = RequestKind.AccessWindow,
            TimeoutSeconds = 60,
            GrantLifetimeSeconds = 60,
            Assertion = assertion,
            Connection = Gateway.Connection,
            Database = "postgres",
            Operations = [new RequestedOperation("", "a window", [])],
            AllOf = [new RequestRequirement(["dba"], 1)],
        };
        return ValueTask.FromResult<IReadOnlyList<RequestView>>(
            [View(new Entry("apr_window", ask, "") { State = RequestState.Approved }) with { Kind = RequestKind.AccessWindow, Window = window }]);
    }

    public ValueTask<OpenWindow> OpenWindowAsync(string request, RedeemRequest redeem, RedemptionExpectation expected, CancellationToken cancellation)
    {
        Interlocked.Increment(ref Opened);
        var now = clock.GetUtcNow();
        var ends = now.AddSeconds(Window!.Seconds).ToUnixTimeSeconds();
        var claims = new GrantClaims
        {
            Id = "grant",
            Issuer = "approval",
            Request = request,
            Kind = RequestKind.AccessWindow,
            Person = expected.Person,
            Connection = expected.Connection,
            Digests = [],
            AllOf = [new RequestRequirement(["dba"], 1)],
            Approvers = [new GrantApprover("per_bob", "bob", 1)],
            Window = Window,
            WindowEndsAt = ends,
            IssuedAt = now.ToUnixTimeSeconds(),
            ExpiresAt = ends,
        };
        return ValueTask.FromResult(GrantVerifier.VerifyWindow(claims, request, redeem, expected, now));
    }

    public ValueTask WithdrawAsync(string request, string assertion, CancellationToken cancellation)
    {
        _requests[request].State = RequestState.Cancelled;
        Withdrawn.Enqueue(request);
        return ValueTask.CompletedTask;
    }

    private RequestView View(Entry entry) => new()
    {
        Id = entry.Id,
        Kind = RequestKind.Operation,
        State = entry.State,
        Version = 1,
        Digest = entry.Digests,
        Requester = "per_alice",
        RequesterName = "alice",
        Connection = entry.Ask.Connection,
        Database = entry.Ask.Database,
        Operations = entry.Ask.Operations,
        Redeemed = entry.Redeemed,
        AllOf = entry.Ask.AllOf,
        Decisions = entry.State == RequestState.Denied ? [new RequestDecision("per_bob", "bob", false, clock.GetUtcNow(), entry.Comment)] : [],
        Rules = [],
        Message = entry.Ask.Message,
        Reason = "",
        Context = entry.Ask.Context,
        Transaction = entry.Ask.Transaction,
        CreatedAt = clock.GetUtcNow(),
        ExpiresAt = clock.GetUtcNow().AddMinutes(30),
        Link = $"https://countersign.example/approval/requests/{entry.Id}",
    };

    private sealed class Entry(string id, CreateRequest ask, string digests)
    {
        public string Id => id;

        public CreateRequest Ask => ask;

        public string Digests => digests;

        public long LastAsked { get; set; }

        public RequestState State { get; set; }

        public string Comment { get; set; } = "";

        public int Redeemed { get; set; }

        public Action<RequestView>? Changed { get; set; }

        public TaskCompletionSource Decided { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
