using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Path.Tests;

/// <summary>One list for everything that happens, so that tests can assert the order.</summary>
internal sealed class Journal
{
    private readonly List<string> _events = [];

    public IReadOnlyList<string> Events => _events;

    public void Add(string what) => _events.Add(what);
}

internal sealed class MemoryRecording(Journal journal) : ISessionRecording
{
    private readonly CancellationTokenSource _failed = new();

    public List<OperationEntry> Operations { get; } = [];

    public List<HoldEntry> Holds { get; } = [];

    public bool Broken { get; set; }

    /// <summary>While true, receipts stay pending until <see cref="Flush"/>.</summary>
    public bool Slow { get; set; }

    public List<Receipt> Receipts { get; } = [];

    public CancellationToken Failed => _failed.Token;

    public RecordReceipt Append(OperationEntry entry, RecordLevel level)
    {
        if (Broken)
        {
            throw new RecordingFailedException("disk");
        }

        Operations.Add(entry);
        journal.Add($"record {entry.Operation} {entry.Decision} {level}");
        var receipt = new Receipt(Operations.Count, journal, entry.Operation, done: !Slow || level == RecordLevel.Buffered);
        Receipts.Add(receipt);
        return receipt;
    }

    public void Flush() => Receipts.ForEach(receipt => receipt.Finish());

    public void Complete(CompletionEntry entry) => journal.Add($"complete {entry.Operation} {entry.Outcome}");

    public ValueTask RecordHoldAsync(HoldEntry entry, CancellationToken cancellation)
    {
        Holds.Add(entry);
        journal.Add($"hold {entry.Operation} {entry.Phase}");
        return ValueTask.CompletedTask;
    }

    public void RecordGateway(string statement) => journal.Add($"gateway {statement}");

    public ValueTask EndAsync(SessionEndEntry entry, CancellationToken cancellation) => ValueTask.CompletedTask;

    public ValueTask DisposeAsync()
    {
        _failed.Dispose();
        return ValueTask.CompletedTask;
    }

    internal sealed class Receipt(long sequence, Journal journal, long operation, bool done) : RecordReceipt(sequence)
    {
        private readonly TaskCompletionSource _durable = Started(done);

        public override bool IsDurable => _durable.Task.IsCompletedSuccessfully;

        public override ValueTask WaitAsync(CancellationToken cancellation) => new(_durable.Task.WaitAsync(cancellation));

        public void Finish()
        {
            if (!_durable.Task.IsCompleted)
            {
                journal.Add($"durable {operation}");
                _durable.SetResult();
            }
        }

        public void Fail() => _durable.TrySetException(new RecordingFailedException("disk"));

        private static TaskCompletionSource Started(bool done)
        {
            var source = new TaskCompletionSource();
            if (done)
            {
                source.SetResult();
            }

            return source;
        }
    }
}

/// <summary>A workflow in memory that follows the rules of the real one as far as a proxy sees them.</summary>
internal sealed class MemoryApprovals(Journal journal, TimeProvider clock) : IApprovals
{
    private readonly Dictionary<string, Entry> _requests = [];

    public bool Down { get; set; }

    public List<CreateRequest> Asked { get; } = [];

    /// <summary>Changes the grant on its way to the proxy: a stolen or forged one.</summary>
    public Func<GrantClaims, GrantClaims> Tamper { get; set; } = claims => claims;

    public ValueTask<CreateRequestResult> RequestAsync(CreateRequest request, CancellationToken cancellation)
    {
        if (Down)
        {
            throw new ApprovalUnavailableException("approval is down");
        }

        Asked.Add(request);
        var digests = request.Operations.Select(operation => operation.Digest).ToList();
        var known = _requests.Values.FirstOrDefault(entry =>
            entry.State is RequestState.Pending or RequestState.Approved && entry.Ask.Assertion == request.Assertion
            && entry.Digests.Skip(entry.Redeemed).Take(digests.Count).SequenceEqual(digests));
        var made = known ?? new Entry($"apr_{_requests.Count + 1}", request, digests);
        _requests[made.Id] = made;
        journal.Add($"{(known is null ? "ask" : "attach")} {made.Id}");
        return ValueTask.FromResult(new CreateRequestResult(View(made), known is not null, known?.Redeemed ?? 0));
    }

    public ValueTask<RequestView> WaitAsync(string request, CancellationToken cancellation) => WaitAsync(request, _ => { }, cancellation);

    public async ValueTask<RequestView> WaitAsync(string request, Action<RequestView> changed, CancellationToken cancellation)
    {
        var entry = _requests[request];
        entry.Changed = changed;
        await entry.Decided.Task.WaitAsync(cancellation);
        return View(entry);
    }

    public ValueTask<IReadOnlyList<RequestView>> ApprovedAsync(string assertion, CancellationToken cancellation) => Down
        ? throw new ApprovalUnavailableException("approval is down")
        : ValueTask.FromResult<IReadOnlyList<RequestView>>([.. _requests.Values.Where(entry => entry.State == RequestState.Approved).Select(View)]);

    public ValueTask<OpenWindow> OpenWindowAsync(string request, RedeemRequest redeem, RedemptionExpectation expected, CancellationToken cancellation)
    {
        var entry = _requests[request];
        if (entry.State != RequestState.Approved || entry.Digests[0] != redeem.Digest)
        {
            throw new RedemptionRefusedException("not approved");
        }

        journal.Add($"open {request}");
        entry.Began ??= clock.GetUtcNow();
        var ends = entry.Began.Value.AddSeconds(entry.Ask.Window!.Seconds).ToUnixTimeSeconds();
        var claims = Tamper(Claims(entry) with { Kind = RequestKind.AccessWindow, Digests = [], Window = entry.Ask.Window, WindowEndsAt = ends, ExpiresAt = ends });
        return ValueTask.FromResult(GrantVerifier.VerifyWindow(claims, request, redeem, expected, clock.GetUtcNow()));
    }

    /// <summary>Makes a request that was approved ahead of time.</summary>
    public string Ahead(CreateRequest ask)
    {
        var made = new Entry($"apr_{_requests.Count + 1}", ask, [.. ask.Operations.Select(operation => operation.Digest)]) { State = RequestState.Approved };
        _requests[made.Id] = made;
        return made.Id;
    }

    /// <summary>Somebody agreed, and more are needed.</summary>
    public void Progress(string request) => _requests[request].Changed?.Invoke(View(_requests[request]));

    public ValueTask<RedeemedGrant> RedeemAsync(string request, RedeemRequest redeem, RedemptionExpectation expected, CancellationToken cancellation)
    {
        if (Down)
        {
            throw new ApprovalUnavailableException("approval is down");
        }

        var entry = _requests[request];
        if (entry.State != RequestState.Approved || redeem.Index != entry.Redeemed || entry.Digests[redeem.Index] != redeem.Digest)
        {
            throw new RedemptionRefusedException("already used");
        }

        entry.Redeemed++;
        journal.Add($"redeem {request} {redeem.Index}");
        if (entry.Redeemed == entry.Digests.Count)
        {
            entry.State = RequestState.Consumed;
        }

        return ValueTask.FromResult(GrantVerifier.Verify(Tamper(Claims(entry)), request, redeem, expected, clock.GetUtcNow()));
    }

    private GrantClaims Claims(Entry entry) => new()
    {
        Id = "grant-" + entry.Id,
        Issuer = "approval",
        Request = entry.Id,
        Kind = RequestKind.Operation,
        Person = Sessions.Person,
        Connection = entry.Ask.Connection,
        Digests = entry.Digests,
        AllOf = entry.Ask.AllOf,
        Assurance = entry.Ask.Assurance,
        BreakGlass = entry.BreakGlass,
        Approvers = entry.BreakGlass
            ? []
            : [.. Enumerable.Range(0, entry.Ask.AllOf.Sum(each => each.Quorum)).Select(number => new GrantApprover($"per_bob{number}", "bob", clock.GetUtcNow().ToUnixTimeSeconds()))],
        IssuedAt = clock.GetUtcNow().ToUnixTimeSeconds(),
        ExpiresAt = clock.GetUtcNow().AddSeconds(entry.Ask.GrantLifetimeSeconds).ToUnixTimeSeconds(),
    };

    public ValueTask WithdrawAsync(string request, string assertion, CancellationToken cancellation)
    {
        Decide(request, RequestState.Cancelled);
        return ValueTask.CompletedTask;
    }

    public void BreakGlass(string request)
    {
        _requests[request].BreakGlass = true;
        Decide(request, RequestState.Approved);
    }

    public void Decide(string request, RequestState state)
    {
        var entry = _requests[request];
        entry.State = state;
        journal.Add($"{state} {request}");
        entry.Decided.TrySetResult();
    }

    public RequestState StateOf(string request) => _requests[request].State;

    private RequestView View(Entry entry) => new()
    {
        Id = entry.Id,
        Kind = entry.Ask.Kind,
        State = entry.State,
        Window = entry.Ask.Window,
        BreakGlass = entry.BreakGlass,
        Version = 1,
        Digest = string.Join(',', entry.Digests),
        Requester = Sessions.Person,
        RequesterName = "alice",
        Connection = entry.Ask.Connection,
        Database = entry.Ask.Database,
        Operations = entry.Ask.Operations,
        Redeemed = entry.Redeemed,
        AllOf = entry.Ask.AllOf,
        Decisions = [new RequestDecision("per_bob", "bob", entry.State != RequestState.Denied, clock.GetUtcNow(), "not today")],
        Rules = entry.Ask.Rules,
        Message = entry.Ask.Message,
        Reason = "",
        Context = entry.Ask.Context,
        Transaction = entry.Ask.Transaction,
        CreatedAt = clock.GetUtcNow(),
        ExpiresAt = clock.GetUtcNow().AddSeconds(entry.Ask.TimeoutSeconds),
        Link = "https://example.test/" + entry.Id,
    };

    private sealed class Entry(string id, CreateRequest ask, IReadOnlyList<string> digests)
    {
        public string Id { get; } = id;

        public CreateRequest Ask { get; } = ask;

        public IReadOnlyList<string> Digests { get; } = digests;

        public RequestState State { get; set; }

        public int Redeemed { get; set; }

        public bool BreakGlass { get; set; }

        public DateTimeOffset? Began { get; set; }

        public Action<RequestView>? Changed { get; set; }

        public TaskCompletionSource Decided { get; } = new();
    }
}

internal sealed class TextOperation(string text) : Operation
{
    public string Text { get; } = text;
}

/// <summary>A decider by a function, which tests can swap while an operation is held.</summary>
internal sealed class FunctionDecider : IDecider
{
    public Func<string, Decision> Rule { get; set; } = _ => Decisions.Allow;

    public (Decision Decision, MaskPlan Masking) Decide(PathSession session, UnderstoodOperation understood, DateTimeOffset now) =>
        (Rule(understood.RecordedText), MaskPlan.None);
}

internal static class Decisions
{
    public static Decision Allow { get; } = new() { Outcome = Outcome.Allow, BundleVersion = 1 };

    public static Decision Deny { get; } = new()
    {
        Outcome = Outcome.Deny,
        BundleVersion = 1,
        Message = "No.",
        Rules = [new RuleHit("starter", "no-drop", Outcome.Deny, 0, "No.")],
    };

    public static Decision Hold(params ApproverRequirement[] allOf) => new()
    {
        Outcome = Outcome.RequireApproval,
        BundleVersion = 1,
        Message = "Needs a second person.",
        Rules = [new RuleHit("starter", "hold-writes", Outcome.RequireApproval, 0, "")],
        Terms = new ApprovalTerms { AllOf = allOf.Length == 0 ? [new ApproverRequirement(["dba"], 1)] : allOf },
    };
}

internal sealed class Peer(Journal journal) : IOperationPeer
{
    private readonly CancellationTokenSource _cancelled = new();
    private readonly CancellationTokenSource _disconnected = new();

    public List<TextOperation> Forwarded { get; } = [];

    public List<(TextOperation Operation, Refusal Refusal)> Refused { get; } = [];

    public List<Permit> Permits { get; } = [];

    public List<TextOperation> Pipeline { get; } = [];

    public Dictionary<string, string> Context { get; } = new() { [PostgresContext.SearchPath] = "public" };

    public bool ReadOnly { get; set; }

    /// <summary>Whether the session is as it began.</summary>
    public bool OwnContext { get; set; } = true;

    public bool Incomplete { get; set; }

    /// <summary>Facts of the statement; by default a SELECT of nothing.</summary>
    public StatementFacts? Facts { get; set; }

    /// <summary>Runs where the operation is about to be forwarded.</summary>
    public Action? Forwarding { get; set; }

    public List<RequestView> Progressed { get; } = [];

    public TransactionView Transaction { get; set; } = TransactionView.None;

    public TaskCompletionSource<RequestView> Held { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Cancel() => _cancelled.Cancel();

    public void Disconnect() => _disconnected.Cancel();

    public ValueTask<UnderstoodOperation> UnderstandAsync(Operation operation, CancellationToken cancellation)
    {
        var text = ((TextOperation)operation).Text;
        var statement = Facts ?? new StatementFacts { Kinds = ["SELECT"], ReadOnly = ReadOnly };
        var facts = new OperationFacts { Protocol = "test", Grammar = "test", Statements = [statement], Incomplete = Incomplete ? ["syntax"] : [] };
        return ValueTask.FromResult(new UnderstoodOperation(facts, text, [], NoMasks.Instance));
    }

    public ValueTask<OperationIdentity> IdentifyAsync(Operation operation, CancellationToken cancellation) => ValueTask.FromResult(new OperationIdentity
    {
        Protocol = "test",
        Text = ((TextOperation)operation).Text,
        Connection = "demo",
        Database = "demo",
        DatabaseRole = "app",
        Person = Sessions.Person,
        Context = new Dictionary<string, string>(Context),
    });

    public ValueTask<bool> IsInOwnContextAsync(Operation operation, CancellationToken cancellation) => ValueTask.FromResult(OwnContext);

    public ValueTask<IReadOnlyList<Operation>> GatherAsync(CancellationToken cancellation) => ValueTask.FromResult<IReadOnlyList<Operation>>([.. Pipeline]);

    public ValueTask<IHoldScope> HeldAsync(Operation operation, RequestView request, bool attached, CancellationToken cancellation)
    {
        journal.Add($"told {request.Id}");
        Held.TrySetResult(request);
        return ValueTask.FromResult<IHoldScope>(new Scope(Progressed, _cancelled.Token, _disconnected.Token));
    }

    public ValueTask ForwardAsync(Operation operation, Permit permit, CancellationToken cancellation)
    {
        permit.Use(operation);
        Forwarding?.Invoke();
        Forwarded.Add((TextOperation)operation);
        Permits.Add(permit);
        journal.Add($"forward {operation.Number}");
        return ValueTask.CompletedTask;
    }

    public ValueTask RefuseAsync(Operation operation, Refusal refusal, CancellationToken cancellation)
    {
        Refused.Add(((TextOperation)operation, refusal));
        journal.Add($"refuse {operation.Number}");
        return ValueTask.CompletedTask;
    }

    private sealed class Scope(List<RequestView> progressed, CancellationToken cancelled, CancellationToken disconnected) : IHoldScope
    {
        public void Progress(RequestView request) => progressed.Add(request);

        public CancellationToken Cancelled => cancelled;

        public CancellationToken Disconnected => disconnected;

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    private sealed class NoMasks : IMaskAnalysis
    {
        public static readonly NoMasks Instance = new();

        public MaskPlan Plan(Obligations obligations) => MaskPlan.None;
    }
}

internal static class Sessions
{
    public const string Person = "per_alice";

    public static PathSession Make(ISessionRecording recording, RunningGrants? running = null) => new()
    {
        Id = "ses_1",
        Grants = new SessionGrants(running ?? new RunningGrants()),
        Assertion = "assertion",
        Claims = new SessionAssertionClaims
        {
            Issuer = "identity",
            Audience = "session",
            Subject = "pri_alice",
            Session = "ses_1",
            Proxy = "proxy-1",
            Connection = "demo",
            Credential = "cre_1",
            Person = Person,
            Name = "alice",
            Kind = "human",
            AuthenticatedAt = 0,
            IssuedAt = 0,
            ExpiresAt = long.MaxValue,
        },
        Principal = new PrincipalFacts("pri_alice", Person, "alice", "human", [], null, [], DateTimeOffset.UnixEpoch),
        Connection = "demo",
        Database = "demo",
        DatabaseRole = "app",
        ClientAddress = "127.0.0.1",
        Recording = recording,
    };
}
