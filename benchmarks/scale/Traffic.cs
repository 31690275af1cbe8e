using System.Collections.Concurrent;
using System.Net.Http.Headers;
using Countersign.Platform.Tokens;

namespace Countersign.Benchmarks.Scale;

/// <summary>Messages and bytes by kind, since the last time that it was asked.</summary>
internal sealed class Traffic
{
    private readonly ConcurrentDictionary<string, Kind> _kinds = new(StringComparer.Ordinal);
    private ConcurrentDictionary<long, int> _buckets = new();

    /// <summary>Most requests of one kind within 100 ms.</summary>
    public int Peak => _buckets.IsEmpty ? 0 : _buckets.Values.Max();

    public void Add(string kind, long sent, long received, TimeSpan took, bool good)
    {
        var counted = _kinds.GetOrAdd(kind, _ => new Kind());
        lock (counted)
        {
            counted.Count++;
            counted.Bytes += sent + received;
            counted.Failed += good ? 0 : 1;
            counted.Milliseconds.Add(took.TotalMilliseconds);
        }

        _buckets.AddOrUpdate(Environment.TickCount64 / 100, 1, static (_, count) => count + 1);
    }

    /// <summary>What was counted; begins anew.</summary>
    public SortedDictionary<string, Kind> Take()
    {
        var taken = new SortedDictionary<string, Kind>(StringComparer.Ordinal);
        foreach (var name in _kinds.Keys)
        {
            if (_kinds.TryRemove(name, out var kind))
            {
                taken[name] = kind;
            }
        }

        _buckets = new ConcurrentDictionary<long, int>();
        return taken;
    }

    internal sealed class Kind
    {
        public int Count { get; set; }

        public long Bytes { get; set; }

        public int Failed { get; set; }

        public List<double> Milliseconds { get; } = [];
    }
}

/// <summary>Shows the proxy's token and counts what goes over the wire: bodies, and headers as HTTP/1.1 writes them.</summary>
internal sealed class CountingHandler(string receiver, ServiceTokens tokens, Traffic traffic, HttpMessageHandler inner) : DelegatingHandler(inner)
{
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", tokens.For(receiver));
        var kind = $"{receiver}: {request.Method} {Route(request.RequestUri!.AbsolutePath)}";
        var began = TimeProvider.System.GetTimestamp();
        try
        {
            var response = await base.SendAsync(request, cancellationToken);
            await response.Content.LoadIntoBufferAsync(cancellationToken);
            traffic.Add(
                kind, 60 + Length(request.Headers) + Length(request.Content), 20 + Length(response.Headers) + Length(response.Content),
                TimeProvider.System.GetElapsedTime(began), response.IsSuccessStatusCode);
            return response;
        }
        catch (Exception error) when (error is HttpRequestException or OperationCanceledException)
        {
            traffic.Add(kind, 60 + Length(request.Headers) + Length(request.Content), 0, TimeProvider.System.GetElapsedTime(began), good: false);
            throw;
        }
    }

    private static long Length(HttpHeaders headers) => headers.Sum(header => header.Key.Length + 4L + header.Value.Sum(value => value.Length));

    private static long Length(HttpContent? content) => content is null ? 0 : Length(content.Headers) + (content.Headers.ContentLength ?? 0);

    private static string Route(string path)
    {
        var parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        return string.Join('/', parts.Skip(1).Select(part => part.StartsWith("apr_", StringComparison.Ordinal) || part.StartsWith("lgn_", StringComparison.Ordinal) ? "{id}" : part));
    }
}
