using System.Globalization;
using System.Text.Json;
using System.Threading.Channels;
using Countersign.Approval.Actors;
using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Microsoft.Extensions.Options;

namespace Countersign.Approval.Host.Notifications;

/// <summary>A change as it is streamed, with what says who may see it.</summary>
internal sealed record StreamedChange(long Sequence, RequestChanged Changed, string Requester);

/// <summary>The latest changes of requests in memory, and the streams that follow them. One a process: a stream that resumes elsewhere is told to begin anew.</summary>
internal sealed class RequestStream([FromKeyedServices(AppIds.Approval)] IStateStore store, IOptions<ApprovalOptions> options)
{
    /// <summary>Changes that a stream can resume over.</summary>
    public const int Window = 1_000;

    /// <summary>Changes that one stream may be behind.</summary>
    public const int MaxBehind = 256;

    private readonly string _instance = Guid.NewGuid().ToString("N")[..12];
    private readonly Queue<StreamedChange> _window = new();
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);
    private readonly HashSet<Subscription> _streams = [];
    private readonly Lock _gate = new();
    private long _sequence;

    /// <summary>How many streams there are.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _streams.Count;
            }
        }
    }

    /// <summary>Takes an event of the bus; one that came already changes nothing.</summary>
    public async ValueTask OnChangedAsync(BusEvent published, CancellationToken cancellation)
    {
        if (JsonSerializer.Deserialize<RequestChanged>(published.Data.Span, JsonSerializerOptions.Web) is not { Request.Length: > 0 } changed
            || await store.LoadAsync<RequestDocument>(Collections.Requests, changed.Request, cancellation) is not { Document: { } document })
        {
            return;
        }

        lock (_gate)
        {
            if (!_known.Add(changed.Id))
            {
                return;
            }

            var change = new StreamedChange(++_sequence, changed, document.Spec.Requester.Person);
            _window.Enqueue(change);
            if (_window.Count > Window)
            {
                _known.Remove(_window.Dequeue().Changed.Id);
            }

            foreach (var stream in _streams)
            {
                // Who can't follow is cut, not waited for: it can resume, or begin anew.
                if (!stream.Changes.Writer.TryWrite(change))
                {
                    stream.Changes.Writer.TryComplete();
                }
            }
        }
    }

    /// <summary>Begins to follow.</summary>
    /// <param name="person">Person id.</param>
    /// <param name="lastEventId">Id of the last event that was seen; null for from now on.</param>
    /// <returns>Null where there are too many streams.</returns>
    public Subscription? Follow(string person, string? lastEventId)
    {
        lock (_gate)
        {
            if (_streams.Count >= options.Value.Events.MaxStreams || _streams.Count(stream => stream.Person == person) >= options.Value.Events.MaxStreamsOfOne)
            {
                return null;
            }

            var after = Sequence(lastEventId);
            var resumed = after is { } known && known <= _sequence && (_window.Count == 0 ? known == _sequence : known >= _window.Peek().Sequence - 1);
            var stream = new Subscription(
                this, person, resumed ? [.. _window.Where(change => change.Sequence > after)] : [], Reset: lastEventId is not null && !resumed, _sequence);
            _streams.Add(stream);
            return stream;
        }
    }

    /// <summary>Id of an event.</summary>
    public string EventId(long sequence) => string.Create(CultureInfo.InvariantCulture, $"{_instance}-{sequence}");

    /// <summary>Whether a person sees a request: the same rule as for reading one.</summary>
    public static bool MaySee(PersonStanding standing, string requester) =>
        !standing.Disabled && (standing.Enrolled || standing.Person == requester || standing.SameAs.Contains(requester, StringComparer.Ordinal));

    private long? Sequence(string? id) =>
        id is not null && id.StartsWith(_instance + "-", StringComparison.Ordinal)
            && long.TryParse(id.AsSpan(_instance.Length + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var sequence)
            ? sequence
            : null;

    private void Leave(Subscription subscription)
    {
        lock (_gate)
        {
            _streams.Remove(subscription);
        }
    }

    /// <summary>One stream.</summary>
    /// <param name="Stream">Where it belongs.</param>
    /// <param name="Person">Person id.</param>
    /// <param name="Missed">What happened since the last event that was seen.</param>
    /// <param name="Reset">Whether that can't be said: whoever follows must read anew.</param>
    /// <param name="Head">The latest change when it began.</param>
    internal sealed record Subscription(RequestStream Stream, string Person, IReadOnlyList<StreamedChange> Missed, bool Reset, long Head) : IDisposable
    {
        public Channel<StreamedChange> Changes { get; } = Channel.CreateBounded<StreamedChange>(
            new BoundedChannelOptions(MaxBehind) { SingleReader = true, FullMode = BoundedChannelFullMode.Wait });

        public bool Equals(Subscription? other) => ReferenceEquals(this, other);

        public override int GetHashCode() => System.Runtime.CompilerServices.RuntimeHelpers.GetHashCode(this);

        public void Dispose() => Stream.Leave(this);
    }
}
