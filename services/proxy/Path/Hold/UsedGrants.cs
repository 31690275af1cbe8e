namespace Countersign.Proxy.Path.Hold;

/// <summary>
/// What this process has redeemed: approval answers a redemption once, and where its store is set back to before that, the proxy remembers. Another proxy, and this
/// one after a restart, don't know of it.
/// </summary>
/// <param name="clock">Clock of the proxy.</param>
internal sealed class UsedGrants(TimeProvider clock)
{
    /// <summary>More than people can approve within <see cref="Memory"/>; beyond it nothing more is redeemed.</summary>
    internal const int Most = 100_000;

    /// <summary>How long after its grant is over a redemption is remembered: an extension that comes later makes no second one of it.</summary>
    internal static readonly TimeSpan Memory = TimeSpan.FromHours(12);

    private readonly Lock _gate = new();
    private readonly Dictionary<(string Request, int Index), (string Redemption, DateTimeOffset Until)> _used = [];

    /// <summary>Notes that an operation of a request was redeemed. The same redemption again is no other one.</summary>
    /// <param name="request">Request id.</param>
    /// <param name="index">Which of its operations.</param>
    /// <param name="redemption">Id of the attempt.</param>
    /// <param name="expires">When the grant expires.</param>
    /// <exception cref="RedemptionRefusedException">It was redeemed here before, by another attempt.</exception>
    public void Add(string request, int index, string redemption, DateTimeOffset expires)
    {
        lock (_gate)
        {
            if (_used.TryGetValue((request, index), out var before))
            {
                if (before.Redemption != redemption)
                {
                    throw new RedemptionRefusedException("The approval was used here before, whatever the approval service says now.");
                }

                return;
            }

            if (_used.Count >= Most)
            {
                var now = clock.GetUtcNow();
                foreach (var key in _used.Where(each => each.Value.Until < now).Select(each => each.Key).ToList())
                {
                    _used.Remove(key);
                }

                if (_used.Count >= Most)
                {
                    throw new RedemptionRefusedException("This proxy has used more approvals than it can remember.");
                }
            }

            _used.Add((request, index), (redemption, expires + Memory));
        }
    }
}
