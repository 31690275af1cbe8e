namespace Countersign.Approval.Workflow;

/// <summary>Limits against fatigue of approvers.</summary>
/// <param name="MaxPending">Pending requests a person may have, under all of their accounts.</param>
/// <param name="BackOff">How long after a first denial the same may not be asked again; doubles with each further one.</param>
/// <param name="MaxBackOff">Longest back-off.</param>
public sealed record RequesterLimits(int MaxPending, TimeSpan BackOff, TimeSpan MaxBackOff)
{
    /// <summary>How long a denial is remembered for the next back-off.</summary>
    public static readonly TimeSpan Memory = TimeSpan.FromDays(1);

    /// <summary>5 pending, 60 s to 1 h.</summary>
    public static RequesterLimits Default { get; } = new(5, TimeSpan.FromSeconds(60), TimeSpan.FromHours(1));

    /// <summary>How long to wait after the n-th denial of the same.</summary>
    public TimeSpan After(int denials)
    {
        // 30 doublings of a second are 34 years: no overflow, and the bound decides long before.
        var wait = BackOff * Math.Pow(2, Math.Clamp(denials - 1, 0, 30));
        return wait < MaxBackOff ? wait : BackOff > MaxBackOff ? BackOff : MaxBackOff;
    }
}

/// <summary>One person's requests: the same merges, not too many at once, none again right after a denial.</summary>
public sealed class RequesterWorkflow(RequesterLimits limits) : IWorkflow<RequesterDocument, RequesterCommand>
{
    /// <summary>Approved requests a person may leave unredeemed; bounds the document.</summary>
    public const int MaxOpen = 100;

    /// <summary>Denials that are remembered; bounds the document.</summary>
    public const int MaxDenials = 200;

    /// <summary>What is asked for as one text: the same text is the same thing asked again.</summary>
    public static string KeyOf(RequestSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var key = $"{spec.Kind}:{spec.AskedBy}:{spec.Connection}:{spec.Digest}";
        if (spec.Window is { } window)
        {
            // The scope is what counts, whatever digest came with it.
            key += $":{window.Length.TotalSeconds:0}:{string.Join(',', window.Statements)}:{string.Join(',', window.Relations)}";
        }

        return spec.Extends is null ? key : $"{key}:{spec.Extends}";
    }

    /// <summary>The request that serves what is asked for: the one opened for it, or an earlier one and where in its list it begins.</summary>
    public static Attachment? Find(RequesterDocument document, RequestSpec spec, IReadOnlyList<Observation> observed)
    {
        ArgumentNullException.ThrowIfNull(document);
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(observed);
        if (document.Entries.FirstOrDefault(entry => entry.Request == spec.Id) is { } own)
        {
            return new Attachment(own.Request, 0);
        }

        var open = observed.Where(each => each.State is WorkflowState.Pending or WorkflowState.Approved).ToDictionary(each => each.Request, StringComparer.Ordinal);
        var usable = document.Entries.Where(entry => open.TryGetValue(entry.Request, out var observation) && Covers(entry, observation, spec)).ToList();
        var key = KeyOf(spec);
        if (usable.LastOrDefault(entry => entry.Key == key && (spec.Window is not null || open[entry.Request].Redeemed == 0)) is { } same)
        {
            return new Attachment(same.Request, 0);
        }

        // A part of a list that comes next in it; what was approved before what still waits.
        return spec.Kind != WorkflowKind.Operation || spec.Extends is not null
            ? null
            : usable.Select(entry => open[entry.Request])
                .Where(each => IsNext(each, spec))
                .OrderByDescending(each => each.State == WorkflowState.Approved)
                .Select(each => new Attachment(each.Request, each.Redeemed))
                .FirstOrDefault();
    }

    /// <inheritdoc/>
    public Step<RequesterDocument> Apply(RequesterDocument? document, RequesterCommand command, DateTimeOffset now)
    {
        if (command is not Ask ask)
        {
            return new Step<RequesterDocument>(document, Changed: false, null, Fresh: false);
        }

        var spec = ask.Spec;
        var current = Refresh(document ?? new RequesterDocument { Version = 0, Person = spec.Requester.Person }, ask.Observed, now);
        if (spec.InEffect)
        {
            // It has happened: nothing to merge with, nothing to wait for, and never to be refused.
            return Open(current, spec, remember: false);
        }

        // Before it is attached to an earlier one: what that would extend may have ended since.
        if (ask.ExtensionRefused is { } notExtendable)
        {
            return new Step<RequesterDocument>(current, Changed: false, notExtendable, Fresh: false);
        }

        if (Find(current, spec, ask.Observed) is not null)
        {
            return new Step<RequesterDocument>(current, Changed: false, null, Fresh: false);
        }

        var key = KeyOf(spec);
        if (current.Denials.LastOrDefault(denial => denial.Key == key) is { } denial && denial.At + limits.After(denial.Count) - now is { Ticks: > 0 } wait)
        {
            return Refuse(current, RefusalCodes.RecentlyDenied, $"The same was denied a moment ago. Ask again in {Math.Ceiling(wait.TotalSeconds)} s, or talk to the approver.", wait);
        }

        if (ask.PendingElsewhere + current.Entries.Count(entry => ask.Observed.Any(each => each.Request == entry.Request && each.State == WorkflowState.Pending)) >= limits.MaxPending)
        {
            return Refuse(
                current, RefusalCodes.TooManyPending,
                $"You have {limits.MaxPending} pending requests already{(ask.PendingElsewhere > 0 ? ", with those of your other accounts" : "")}. Withdraw one, or wait until one is decided.", TimeSpan.FromSeconds(30));
        }

        return current.Entries.Count >= MaxOpen
            ? Refuse(current, RefusalCodes.TooManyPending, "You have too many approved requests that were not run. Run or withdraw some.", TimeSpan.FromSeconds(30))
            : Open(current, spec, remember: true);
    }

    private static Step<RequesterDocument> Open(RequesterDocument document, RequestSpec spec, bool remember)
    {
        var version = document.Version + 1;
        var asked = document with
        {
            Version = version,
            Entries = remember ? [.. document.Entries, new RequesterEntry(spec.Id, KeyOf(spec), spec.AllOf)] : document.Entries,
            Outbox = [new OpenEffect(version, spec)],
        };
        return new Step<RequesterDocument>(asked, Changed: true, null, Fresh: true);
    }

    // Attached to on weaker terms than those asked now it would be approved, refused at redemption, and attached to again until it expired.
    private static bool Covers(RequesterEntry entry, Observation observation, RequestSpec spec) =>
        Quorum.Covers(entry.AllOf, spec.AllOf)
        && Eligibility.Covers(observation.Assurance, spec.Assurance)
        && (spec.BreakGlassAllowed || !observation.BreakGlassAllowed)
        && (!spec.ReasonRequired || observation.HasReason);

    private static bool IsNext(Observation list, RequestSpec spec)
    {
        if (list.Kind != WorkflowKind.Operation || list.AskedBy != spec.AskedBy || list.Connection != spec.Connection || list.Extends
            || list.Redeemed + spec.Operations.Count > list.Digests.Count)
        {
            return false;
        }

        for (var index = 0; index < spec.Operations.Count; index++)
        {
            if (list.Digests[list.Redeemed + index] != spec.Operations[index].Digest)
            {
                return false;
            }
        }

        return true;
    }

    // Drops what is over; a denial is remembered for the back-off.
    private static RequesterDocument Refresh(RequesterDocument document, IReadOnlyList<Observation> observed, DateTimeOffset now)
    {
        var entries = new List<RequesterEntry>();
        var denials = document.Denials.Where(denial => denial.At + RequesterLimits.Memory > now).ToList();
        foreach (var entry in document.Entries)
        {
            var observation = observed.FirstOrDefault(each => each.Request == entry.Request);
            if (observation is { State: WorkflowState.Denied })
            {
                // Entries stand in the order of asking, not of denial: of two with the same key (on different terms) the later denial is what counts.
                var earlier = denials.FirstOrDefault(denial => denial.Key == entry.Key);
                denials.RemoveAll(denial => denial.Key == entry.Key);
                var last = earlier is not null && earlier.At > observation.Ended ? earlier.At : observation.Ended;
                denials.Add(new RequesterDenial(entry.Key, last) { Count = (earlier?.Count ?? 0) + 1 });
            }
            else if (observation is not null && !Transitions.IsTerminal(observation.State))
            {
                entries.Add(entry);
            }
        }

        return document with { Entries = entries, Denials = [.. denials.TakeLast(MaxDenials)] };
    }

    private static Step<RequesterDocument> Refuse(RequesterDocument document, string code, string message, TimeSpan retryAfter) =>
        new(document, Changed: false, new Refusal(code, message, retryAfter), Fresh: false);
}
