using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Path.Hold;

/// <summary>What of one session runs under approvals, and the access windows that it has opened.</summary>
#pragma warning disable CA1001 // An End that races with the session's own end would throw; a source without a timer holds nothing that must be given back.
public sealed class SessionGrants(RunningGrants running)
#pragma warning restore CA1001
{
    // A window that approval hasn't confirmed for so long isn't used any more (I8): the operation is held as usual.
    internal static readonly TimeSpan WindowTrust = TimeSpan.FromSeconds(30);
    private const int MaxWindows = 16;

    private readonly List<GrantUse> _uses = [];
    private readonly List<OpenWindow> _windows = [];
    private readonly CancellationTokenSource _ending = new();
    private volatile int _count;
    private string? _message;

    /// <summary>Of a proxy without others: for what never runs beside anything.</summary>
    public SessionGrants()
        : this(new RunningGrants())
    {
    }

    /// <summary>Signalled when something that runs here may run no longer: the session must end.</summary>
    public CancellationToken Ending => _ending.Token;

    /// <summary>Why, for the person; null while it needn't.</summary>
    public string? Message => Volatile.Read(ref _message);

    /// <summary>What runs now.</summary>
    public IReadOnlyList<GrantUse> Uses()
    {
        lock (running.Gate)
        {
            return UsesLocked();
        }
    }

    /// <summary>Forgets operations that are over: completed, and their transaction too, since until then their effect can still be undone.</summary>
    /// <param name="over">Whether one is.</param>
    public void Release(Func<Operation, bool> over)
    {
        if (_count == 0)
        {
            return;
        }

        lock (running.Gate)
        {
            for (var index = _uses.Count - 1; index >= 0; index--)
            {
                if (over(_uses[index].Operation))
                {
                    RemoveLocked(index);
                }
            }
        }
    }

    /// <summary>The session is over.</summary>
    public void Close()
    {
        lock (running.Gate)
        {
            while (_uses.Count > 0)
            {
                RemoveLocked(_uses.Count - 1);
            }

            while (_windows.Count > 0)
            {
                RemoveWindowLocked(_windows.Count - 1);
            }
        }
    }

    /// <summary>Notes an operation before it is forwarded.</summary>
    /// <exception cref="RedemptionRefusedException">Its approval was revoked meanwhile.</exception>
    internal void Begin(GrantUse use)
    {
        lock (running.Gate)
        {
            running.EnterLocked(use.Grant.Claims.Request, this);
            _uses.Add(use);
            _count = _uses.Count;
        }
    }

    /// <summary>The last look before something is forwarded.</summary>
    /// <exception cref="OperationCanceledException">The session is to end.</exception>
    internal void ThrowIfEnding() => _ending.Token.ThrowIfCancellationRequested();

    /// <summary>Keeps a window that was redeemed and verified.</summary>
    /// <exception cref="RedemptionRefusedException">It was revoked meanwhile, or there are too many.</exception>
    internal void Open(OpenWindow window)
    {
        lock (running.Gate)
        {
            if (_windows.Count == MaxWindows)
            {
                RemoveWindowLocked(0);
            }

            running.EnterLocked(window.Claims.Request, this);
            _windows.Add(window);
        }
    }

    /// <summary>The grant for an operation, where an open window covers it; null where none does.</summary>
    internal RedeemedGrant? Within(OperationFacts facts, Decision decision, DateTimeOffset now)
    {
        lock (running.Gate)
        {
            for (var index = _windows.Count - 1; index >= 0; index--)
            {
                var window = _windows[index];
                if (window.Ends <= now || now - window.ConfirmedAt > WindowTrust)
                {
                    RemoveWindowLocked(index);
                }
                else if (GrantVerifier.Within(window, facts, decision, now) is { } grant)
                {
                    return grant;
                }
            }

            return null;
        }
    }

    /// <summary>Ends the session.</summary>
    internal void End(string message)
    {
        if (Interlocked.CompareExchange(ref _message, message, null) is null)
        {
            // On another thread: whoever revokes must not wait for what this starts.
            _ = _ending.CancelAsync();
        }
    }

    /// <summary>Takes windows of a request away.</summary>
    /// <returns>Whether something runs under it.</returns>
    internal bool Revoked(string request)
    {
        for (var index = _windows.Count - 1; index >= 0; index--)
        {
            if (_windows[index].Claims.Request == request)
            {
                RemoveWindowLocked(index);
            }
        }

        return _uses.Exists(use => use.Grant.Claims.Request == request);
    }

    internal IReadOnlyList<GrantUse> UsesLocked() => _uses.Count == 0 ? [] : [.. _uses];

    internal void ConfirmLocked(string request, DateTimeOffset now)
    {
        foreach (var window in _windows)
        {
            if (window.Claims.Request == request)
            {
                window.ConfirmedAt = now;
            }
        }
    }

    private void RemoveLocked(int index)
    {
        var request = _uses[index].Grant.Claims.Request;
        _uses.RemoveAt(index);
        _count = _uses.Count;
        running.LeaveLocked(request, this, !HasLocked(request));
    }

    private void RemoveWindowLocked(int index)
    {
        var request = _windows[index].Claims.Request;
        _windows.RemoveAt(index);
        running.LeaveLocked(request, this, !HasLocked(request));
    }

    private bool HasLocked(string request) =>
        _uses.Exists(use => use.Grant.Claims.Request == request) || _windows.Exists(window => window.Claims.Request == request);
}
