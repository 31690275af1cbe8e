namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>Lets an event cut a poll's pause short. Rings while nobody waits count as one.</summary>
internal sealed class Doorbell : IDisposable
{
    private readonly SemaphoreSlim _rung = new(0, 1);

    public void Ring()
    {
        try
        {
            _rung.Release();
        }
        catch (SemaphoreFullException)
        {
            // Rung already.
        }
    }

    /// <summary>Waits for a ring, or as long as given; returns at once when cancelled.</summary>
    public async Task WaitAsync(TimeSpan limit, CancellationToken cancellation)
    {
        try
        {
            await _rung.WaitAsync(limit, cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // The caller looks at its own token.
        }
    }

    public void Dispose() => _rung.Dispose();
}
