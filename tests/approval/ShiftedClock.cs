namespace Countersign.Approval.Tests;

/// <summary>The real clock, moved: timers stay real, so that a silo can live on it.</summary>
public sealed class ShiftedClock : TimeProvider
{
    private long _ticks;

    public TimeSpan Shift
    {
        get => new(Interlocked.Read(ref _ticks));
        set => Interlocked.Exchange(ref _ticks, value.Ticks);
    }

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + Shift;
}
