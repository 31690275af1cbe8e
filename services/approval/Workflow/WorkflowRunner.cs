namespace Countersign.Approval.Workflow;

/// <summary>A pure workflow.</summary>
public interface IWorkflow<TDocument, TCommand>
    where TDocument : class
{
    /// <summary>What a command makes of a document.</summary>
    /// <param name="document">Null where there is none yet.</param>
    /// <param name="command">The command.</param>
    /// <param name="now">The workflow's clock.</param>
    Step<TDocument> Apply(TDocument? document, TCommand command, DateTimeOffset now);
}

/// <summary>Something that must happen after a save, at least once. The version makes its id.</summary>
public interface IEffect
{
    /// <summary>Version of the document that brought it about.</summary>
    long Version { get; }
}

/// <summary>A document that a runner can persist.</summary>
public interface IWorkflowDocument<TDocument, TEffect>
    where TDocument : class
{
    /// <summary>When the clock must look at it again; null for never (terminal).</summary>
    DateTimeOffset? WakeAt { get; }
    /// <summary>Effects that may not have happened yet.</summary>
    IReadOnlyList<TEffect> Outbox { get; }
    /// <summary>The same with another outbox.</summary>
    TDocument WithOutbox(IReadOnlyList<TEffect> outbox);
}

/// <summary>A document that says who wrote it.</summary>
public interface ISealedDocument<TDocument>
    where TDocument : class
{
    /// <summary>Signature over everything else in it; null where it has not been saved.</summary>
    string? Seal { get; }
    /// <summary>The same with another seal.</summary>
    TDocument WithSeal(string? seal);
}

/// <summary>A document as it was read.</summary>
public sealed record Stored<TDocument>(TDocument Document, string ETag);

/// <summary>What a shell (grain, actor) gives a runner. One instance is one workflow.</summary>
public interface IRunnerHost<TDocument>
    where TDocument : class
{
    /// <summary>Reads the document.</summary>
    ValueTask<Stored<TDocument>?> LoadAsync(CancellationToken cancellation);

    /// <summary>Writes it durably if the etag is still the one given (null: it must not exist). False where somebody else was faster.</summary>
    ValueTask<bool> SaveAsync(TDocument document, string? etag, CancellationToken cancellation);

    /// <summary>Calls <see cref="WorkflowRunner{TDocument,TCommand,TEffect}.WakeAsync"/> at that time, durably, and again and again until it is cancelled.</summary>
    ValueTask WakeAtAsync(DateTimeOffset when, CancellationToken cancellation);

    /// <summary>No more wake-ups.</summary>
    ValueTask CancelWakeAsync(CancellationToken cancellation);
}

/// <summary>Brings effects about.</summary>
public interface IEffects<in TDocument, TEffect>
{
    /// <summary>Brings them about, at least once, in order. False where it could not; they are tried again later, with the same ids.</summary>
    ValueTask<bool> RunAsync(TDocument document, IReadOnlyList<TEffect> effects, CancellationToken cancellation);
}

/// <summary>The document was changed by others again and again while a command was tried. Nothing was changed by it.</summary>
public sealed class WorkflowConflictException : Exception
{
    /// <summary>Says so.</summary>
    public WorkflowConflictException()
        : base("the workflow is changed by others again and again")
    {
    }

    /// <summary>Says why.</summary>
    public WorkflowConflictException(string message)
        : base(message)
    {
    }

    /// <summary>Says why.</summary>
    public WorkflowConflictException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>
/// Load, apply, save, then effects. The order is what makes a crash harmless: before the save nothing has happened, after it the effects
/// are in the document and are brought about again by whoever loads it next. Calls must not overlap (an actor's turn sees to that); if they
/// do anyway, the etag does. No await here leaves the caller's context: the host is a grain, and what it calls must run in its own turn.
/// </summary>
public sealed class WorkflowRunner<TDocument, TCommand, TEffect>(
    IWorkflow<TDocument, TCommand> workflow, IRunnerHost<TDocument> host, IEffects<TDocument, TEffect> effects, TCommand wake, TimeProvider clock,
    Func<TDocument, TDocument>? complete = null)
    where TDocument : class, IWorkflowDocument<TDocument, TEffect>
    where TEffect : class, IEffect
{
    private const int MaxAttempts = 5;
    private static readonly TimeSpan EffectRetry = TimeSpan.FromSeconds(5);

    // Highest version whose effects this instance has brought about. Forgotten in a crash, which makes them happen twice at worst.
    private long _done;

    /// <summary>Whether <see cref="TidyAsync"/> has something to do.</summary>
    public bool Untidy { get; private set; }

    /// <summary>Executes one command.</summary>
    /// <exception cref="WorkflowConflictException">See there.</exception>
    public async ValueTask<Step<TDocument>> ExecuteAsync(TCommand command, CancellationToken cancellation)
    {
        for (var attempt = 0; attempt < MaxAttempts; attempt++)
        {
            var stored = await host.LoadAsync(cancellation);
            var before = stored?.Document;
            var left = before is null ? [] : await RunEffectsAsync(before, cancellation);
            var step = workflow.Apply(before, command, clock.GetUtcNow());
            if (!step.Changed)
            {
                return step;
            }

            var after = step.Document ?? throw new InvalidOperationException("A workflow that changed has a document.");
            after = (complete is null ? after : complete(after)).WithOutbox([.. left, .. after.Outbox]);
            if (after.WakeAt is { } deadline && deadline != before?.WakeAt)
            {
                // Before the save: a wake-up too many does nothing, one too few would leave a request open that nobody looks at.
                await host.WakeAtAsync(deadline, cancellation);
            }

            if (await host.SaveAsync(after, stored?.ETag, cancellation))
            {
                Untidy = true;
                // From here on it has happened, whether or not the caller still waits.
                await RunEffectsAsync(after, CancellationToken.None);
                return step with { Document = after };
            }
        }

        throw new WorkflowConflictException();
    }

    /// <summary>The document, with whatever a crash left undone brought about.</summary>
    public async ValueTask<TDocument?> ReadAsync(CancellationToken cancellation)
    {
        var stored = await host.LoadAsync(cancellation);
        if (stored is not null)
        {
            await RunEffectsAsync(stored.Document, cancellation);
        }

        return stored?.Document;
    }

    /// <summary>Whether all effects of a document that this instance returned have been brought about.</summary>
    public bool IsDone(TDocument document)
    {
        ArgumentNullException.ThrowIfNull(document);
        return document.Outbox.All(effect => effect.Version <= _done);
    }

    /// <summary>The clock has come. Safe to call at any time and any number of times.</summary>
    public async ValueTask WakeAsync(CancellationToken cancellation)
    {
        var step = await ExecuteAsync(wake, cancellation);
        await TidyAsync(cancellation);
        if (step.Document?.WakeAt is { } deadline)
        {
            await host.WakeAtAsync(deadline, cancellation);
        }
    }

    /// <summary>Clears the outbox once its effects have happened, and ends the wake-ups of a workflow that is over.</summary>
    public async ValueTask TidyAsync(CancellationToken cancellation)
    {
        var stored = await host.LoadAsync(cancellation);
        if (stored is null)
        {
            await host.CancelWakeAsync(cancellation);
            Untidy = false;
            return;
        }

        var document = stored.Document;
        if ((await RunEffectsAsync(document, cancellation)).Count > 0)
        {
            await host.WakeAtAsync(clock.GetUtcNow() + EffectRetry, cancellation);
            return;
        }

        if (document.Outbox.Count > 0 && !await host.SaveAsync(document.WithOutbox([]), stored.ETag, cancellation))
        {
            return;
        }

        if (document.WakeAt is null)
        {
            await host.CancelWakeAsync(cancellation);
        }

        Untidy = false;
    }

    /// <returns>What could not be brought about.</returns>
    private async ValueTask<IReadOnlyList<TEffect>> RunEffectsAsync(TDocument document, CancellationToken cancellation)
    {
        var open = document.Outbox.Where(effect => effect.Version > _done).ToList();
        if (open.Count == 0)
        {
            return [];
        }

        if (!await effects.RunAsync(document, open, cancellation))
        {
            Untidy = true;
            return open;
        }

        _done = open[^1].Version;
        return [];
    }
}
