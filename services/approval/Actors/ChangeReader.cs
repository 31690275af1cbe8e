using System.Runtime.CompilerServices;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Actors;

/// <summary>
/// Reads a collection in pages, and after that only what was written since. Writes of several replicas can become visible in another order than they are numbered, so
/// every now and then (<c>again</c>) it goes back as far as a write can take. One reader at a time.
/// </summary>
internal sealed class ChangeReader(IStateStore store, string collection, TimeProvider clock)
{
    private const int Page = 500;

    // Where the reader was, when: what lies before the oldest one was seen by everybody.
    private readonly Queue<(DateTimeOffset At, string? Place)> _places = new();
    private string? _head;
    private string? _settled;

    /// <summary>What was written since the last time; from the first value on where there was none.</summary>
    /// <param name="again">Whether to read again what may have been passed over.</param>
    /// <param name="cancellation">Ends it; what was given counts as read.</param>
    public async IAsyncEnumerable<StateItem> ReadAsync(bool again, [EnumeratorCancellation] CancellationToken cancellation)
    {
        var began = clock.GetUtcNow();
        var place = again ? _settled : _head;
        while (true)
        {
            var page = await store.ReadChangesAsync(collection, place, Page, cancellation);
            foreach (var item in page)
            {
                yield return item;
            }

            place = page.Count > 0 ? page[^1].ETag : place;
            if (page.Count < Page)
            {
                break;
            }
        }

        if (again)
        {
            while (_places.TryPeek(out var first) && first.At + StateKeys.LongestWrite <= began)
            {
                _settled = _places.Dequeue().Place;
            }
        }

        // In the order of writing, so that the last one read is the furthest.
        if (place != _head)
        {
            _places.Enqueue((clock.GetUtcNow(), place));
            _head = place;
        }
    }
}
