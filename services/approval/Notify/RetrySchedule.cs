namespace Countersign.Approval.Notify;

/// <summary>When a message is tried again: later each time, not all at once, and not for ever.</summary>
/// <param name="GiveUp">From the first moment on; then it is a dead letter.</param>
public sealed record RetrySchedule(TimeSpan GiveUp)
{
    /// <summary>Wait after the first attempt.</summary>
    public static readonly TimeSpan First = TimeSpan.FromSeconds(5);

    /// <summary>Longest wait.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromHours(1);

    /// <summary>The next attempt.</summary>
    /// <param name="attempts">Attempts so far, at least 1.</param>
    /// <param name="begun">When the message came.</param>
    /// <param name="now">The clock.</param>
    /// <param name="wish">What the receiver asked for (Retry-After), or null.</param>
    /// <param name="jitter">0 to below 1.</param>
    /// <returns>Null where it is given up.</returns>
    public DateTimeOffset? Next(int attempts, DateTimeOffset begun, DateTimeOffset now, TimeSpan? wish, double jitter)
    {
        var wait = First * Math.Pow(2, Math.Clamp(attempts - 1, 0, 20));
        wait = wait < Longest ? wait : Longest;
        // Half of it is sure, the other half chance.
        wait *= 0.5 + (Math.Clamp(jitter, 0, 1) / 2);
        if (wish is { } asked && asked > wait)
        {
            wait = asked < Longest ? asked : Longest;
        }

        return now + wait <= begun + GiveUp ? now + wait : null;
    }
}
