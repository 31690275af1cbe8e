namespace Countersign.Identity.Credentials;

/// <summary>Slows down who fails: a token bucket a key, in a table of bounded size. Successful logins cost nothing, so that a pool of connections isn't hindered.</summary>
/// <param name="burst">Failures in a row that go unpunished.</param>
/// <param name="refill">Time after which one more is allowed.</param>
/// <param name="capacity">Keys remembered; the one that failed longest ago is forgotten first.</param>
/// <param name="time">Clock.</param>
public sealed class LoginThrottle(int burst, TimeSpan refill, int capacity, TimeProvider time)
{
    private readonly Dictionary<string, LinkedListNode<Bucket>> _buckets = new(StringComparer.Ordinal);
    private readonly LinkedList<Bucket> _byAge = new();

    /// <summary>Whether the key may try now.</summary>
    public bool Allows(string key)
    {
        lock (_buckets)
        {
            return !_buckets.TryGetValue(key, out var node) || Level(node.Value) + 1 <= burst;
        }
    }

    /// <summary>Notes a failure.</summary>
    public void Failed(string key)
    {
        lock (_buckets)
        {
            double level = 0;
            if (_buckets.TryGetValue(key, out var node))
            {
                level = Level(node.Value);
                _byAge.Remove(node);
            }
            else if (_buckets.Count >= capacity && _byAge.First is { } oldest)
            {
                _buckets.Remove(oldest.Value.Key);
                _byAge.RemoveFirst();
            }

            _buckets[key] = _byAge.AddLast(new Bucket(key, Math.Min(level + 1, burst), time.GetUtcNow()));
        }
    }

    private double Level(Bucket bucket) => Math.Max(0, bucket.Level - ((time.GetUtcNow() - bucket.At) / refill));

    private sealed record Bucket(string Key, double Level, DateTimeOffset At);
}
