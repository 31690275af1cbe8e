using System.Collections.Concurrent;
using System.Text.Json;
using Countersign.Approval.Actors;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;

namespace Countersign.Fakes.Workflow;

/// <summary>Everything around a runtime of workflows that outlives it: identity, the bus, the signer and the clock, each of which can be down.</summary>
public sealed class ContractWorld
{
    /// <summary>The workflows' clock.</summary>
    public MovedClock Clock { get; } = new();

    /// <summary>Who is who.</summary>
    public ScriptedEvidence Evidence { get; }

    /// <summary>Makes grants that say what they are for.</summary>
    public ScriptedSigner Signer { get; } = new();

    /// <summary>What others were told.</summary>
    public EffectLog Told { get; } = new();

    /// <summary>A world in which everything works.</summary>
    public ContractWorld() => Evidence = new ScriptedEvidence(Clock);
}

/// <summary>The real clock, moved: timers stay real.</summary>
public sealed class MovedClock : TimeProvider
{
    private long _ticks;

    /// <summary>How far it is ahead.</summary>
    public TimeSpan Shift
    {
        get => new(Interlocked.Read(ref _ticks));
        set => Interlocked.Exchange(ref _ticks, value.Ticks);
    }

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + Shift;
}

/// <summary>
/// Tokens are the names of persons; a session is <c>session:NAME</c>. Everybody is enrolled and in every group, except <c>outsider</c>, who isn't enrolled;
/// <c>alice2</c> is alice. A token <c>forged</c> verifies for nobody.
/// </summary>
public sealed class ScriptedEvidence(TimeProvider clock) : IEvidence
{
    private const string Session = "session:";

    /// <summary>Whether identity can't be asked.</summary>
    public bool Down { get; set; }

    /// <summary>Those who may approve no longer.</summary>
    public ConcurrentDictionary<string, bool> Gone { get; } = new();

    /// <inheritdoc/>
    public ValueTask<SpecRequester> RequesterAsync(RequestSpec spec, string assertion, CancellationToken cancellation)
    {
        var person = Person(assertion, Session);
        return new(new SpecRequester(person, person, SameAs(person)));
    }

    /// <inheritdoc/>
    public ValueTask<Decider> DeciderAsync(RequestSpec spec, string token, bool groups, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var person = Person(token, "");
        return new(new Decider
        {
            Person = person,
            Name = person,
            SameAs = SameAs(person),
            Enrolled = person != "outsider",
            Disabled = false,
            Groups = groups ? [.. spec.AllOf.SelectMany(requirement => requirement.AnyOf)] : [],
            RequesterSameAs = SameAs(spec.Requester.Person),
            AuthenticatedAt = clock.GetUtcNow(),
            Amr = ["pwd", "otp"],
        });
    }

    /// <inheritdoc/>
    public ValueTask<ExtensionGrant> ExtensionAsync(string grant, CancellationToken cancellation) =>
        new(ScriptedSigner.Read(grant) ?? throw new EvidenceRejectedException("not a grant of an extension"));

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<string>> GoneAsync(RequestSpec spec, IEnumerable<string> approvers, CancellationToken cancellation)
    {
        Check();
        return new([.. approvers.Where(Gone.ContainsKey)]);
    }

    /// <inheritdoc/>
    public ValueTask<string> PersonAsync(string token, CancellationToken cancellation) => new(Person(token, ""));

    /// <inheritdoc/>
    public ValueTask<string> ServiceAsync(string token, CancellationToken cancellation) => new(Person(token, "service:"));

    /// <inheritdoc/>
    public ValueTask CheckSealAsync(RequestSpec spec, string seal, CancellationToken cancellation) =>
        seal == ScriptedSigner.SealOf(spec) ? ValueTask.CompletedTask : throw new EvidenceRejectedException("not sealed by approval");

    /// <inheritdoc/>
    public ValueTask CheckDocumentAsync(string hash, string? seal, CancellationToken cancellation) =>
        seal == ScriptedSigner.SealOf(hash) ? ValueTask.CompletedTask : throw new EvidenceRejectedException("not written by approval");

    /// <inheritdoc/>
    public ValueTask<SessionEvidence> SessionAsync(string assertion, CancellationToken cancellation)
    {
        var person = Person(assertion, Session);
        return new(new SessionEvidence(person, person, "shop"));
    }

    private static string[] SameAs(string person) => person is "alice" or "alice2" ? ["alice", "alice2"] : [person];

    private string Person(string token, string prefix)
    {
        Check();
        return token.StartsWith(prefix, StringComparison.Ordinal) && token != "forged" && token.Length > prefix.Length
            ? token[prefix.Length..]
            : throw new EvidenceRejectedException("the token does not verify");
    }

    private void Check()
    {
        if (Down)
        {
            throw new PortUnavailableException("identity is down");
        }
    }
}

/// <summary>Grants as JSON that nobody signed; each one is different.</summary>
public sealed class ScriptedSigner : IGrantSigner
{
    private int _count;

    /// <inheritdoc/>
    public string Sign(RequestDocument document)
    {
        ArgumentNullException.ThrowIfNull(document);
        var spec = document.Spec;
        var at = document.ApprovedAt ?? document.CreatedAt;
        var extension = spec.Extends is { } other
            ? new ExtensionGrant(spec.Id, other, spec.Requester.Person, spec.Connection, spec.Digest, at, at + spec.GrantLifetime)
            : null;
        return JsonSerializer.Serialize(new Scripted(Interlocked.Increment(ref _count), spec.Id, document.Deadline, extension));
    }

    /// <inheritdoc/>
    public string Seal(RequestSpec spec) => SealOf(spec);

    /// <inheritdoc/>
    public string SealDocument(string hash) => SealOf(hash);

    /// <summary>The seal of a document.</summary>
    public static string SealOf(string hash) => "written:" + hash;

    /// <summary>The seal of a spec.</summary>
    public static string SealOf(RequestSpec spec) => "sealed:" + SpecHash.Compute(spec);

    /// <summary>The extension that a grant is for; null where it is for none.</summary>
    public static ExtensionGrant? Read(string grant)
    {
        try
        {
            return JsonSerializer.Deserialize<Scripted>(grant)?.Extension;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private sealed record Scripted(int Number, string Request, DateTimeOffset Ends, ExtensionGrant? Extension);
}

/// <summary>What was told to others, by its id; the same id never says two things.</summary>
public sealed class EffectLog : IEffects<RequestDocument, RequestEffect>, IRefusalReports
{
    private readonly ConcurrentDictionary<string, RequestEffect> _told = new(StringComparer.Ordinal);

    /// <summary>Whether the bus takes nothing.</summary>
    public bool Down { get; set; }

    /// <summary>Refusals that were reported.</summary>
    public ConcurrentQueue<string> Reported { get; } = new();

    /// <inheritdoc/>
    public ValueTask<bool> RunAsync(RequestDocument document, IReadOnlyList<RequestEffect> effects, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(document);
        ArgumentNullException.ThrowIfNull(effects);
        if (Down)
        {
            return new(false);
        }

        foreach (var effect in effects)
        {
            Assert.Equal(effect, _told.GetOrAdd($"{document.Spec.Id}:{effect.Version}", effect));
        }

        return new(true);
    }

    /// <inheritdoc/>
    public ValueTask ReportAsync(string action, RequestDocument document, Refusal refusal)
    {
        ArgumentNullException.ThrowIfNull(refusal);
        Reported.Enqueue($"{action} {refusal.Code}");
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask ForeignDocumentAsync(string workflow)
    {
        Reported.Enqueue($"foreign {workflow}");
        return ValueTask.CompletedTask;
    }

    /// <summary>Actions that were told of a request, in order of their versions.</summary>
    public IReadOnlyList<string> Of(string request) =>
        [.. _told.Where(entry => entry.Key.StartsWith(request + ":", StringComparison.Ordinal)).OrderBy(entry => entry.Value.Version).Select(entry => entry.Value.Action)];
}
