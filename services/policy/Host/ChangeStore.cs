using System.Text.Json;
using System.Text.Json.Serialization;
using Countersign.Platform.Ports;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Host;

/// <summary>A change of what is enforced, from the question to its end. Kept as long as the store.</summary>
internal sealed record ChangeDocument
{
    public required string RequestId { get; init; }
    public required string State { get; init; }
    public required string Digest { get; init; }
    public required long Version { get; init; }
    public required long BaseVersion { get; init; }
    public required string Payload { get; init; }
    public required string ContentHash { get; init; }
    public required string Diff { get; init; }
    public required string Link { get; init; }
    public required string Person { get; init; }
    public required string Name { get; init; }
    public required string Reason { get; init; }
    public required DateTimeOffset CreatedAt { get; init; }
    public string Problem { get; init; } = "";
    public string Approvers { get; init; } = "";
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Approval's grant of a change that only takes access away; null where others must agree.</summary>
    public string? Removal { get; init; }

    /// <summary>Whether others were told that it was asked for.</summary>
    public bool RequestTold { get; init; }

    /// <summary>Version of the document that was read: what another replica has written meanwhile is never overwritten.</summary>
    [JsonIgnore]
    public string? ETag { get; init; }

    [JsonIgnore]
    public PolicyChangeView View => new(RequestId, State, Digest, Version, BaseVersion, Diff, Link, Name, Reason, CreatedAt, Problem);
}

internal static class ChangeStates
{
    public const string Pending = "pending";
    public const string Active = "active";
    public const string Superseded = "superseded";
    public const string Refused = "refused";
}

/// <summary>Changes: those that something is still to be done about in <c>changes-open</c>, the others, without their payload, in <c>changes-ended</c>.</summary>
internal sealed class ChangeStore([FromKeyedServices(AppIds.Policy)] IStateStore store)
{
    private const string Open = "changes-open";
    private const string Ended = "changes-ended";
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { RespectNullableAnnotations = true };

    public async ValueTask<ChangeDocument> AddAsync(ChangeDocument change, CancellationToken cancellation)
    {
        if (!await store.TrySaveAsync(Open, change.RequestId, Bytes(change), null, cancellation))
        {
            throw new InvalidOperationException($"There is a change {change.RequestId} already.");
        }

        return await WithETagAsync(change, cancellation);
    }

    /// <summary>Replaces an open change, as it was read.</summary>
    /// <exception cref="PortUnavailableException">Another replica was faster: it does what is to be done.</exception>
    public async ValueTask<ChangeDocument> SaveAsync(ChangeDocument change, CancellationToken cancellation) =>
        change.ETag is { } etag && await store.TrySaveAsync(Open, change.RequestId, Bytes(change), etag, cancellation)
            ? await WithETagAsync(change, cancellation)
            : throw Faster(change);

    /// <summary>Nothing is left to do: moves the change to the ended ones.</summary>
    public async ValueTask EndAsync(ChangeDocument change, CancellationToken cancellation)
    {
        var ended = await store.GetAsync(Ended, change.RequestId, cancellation);
        await store.TrySaveAsync(Ended, change.RequestId, Bytes(change with { Payload = "", Removal = null }), ended?.ETag, cancellation);
        if (change.ETag is { } etag)
        {
            await store.TryDeleteAsync(Open, change.RequestId, etag, cancellation);
        }
    }

    public async ValueTask<ChangeDocument?> FindAsync(string requestId, CancellationToken cancellation) =>
        await FindOpenAsync(requestId, cancellation) ?? Read(await store.GetAsync(Ended, requestId, cancellation));

    public async ValueTask<ChangeDocument?> FindOpenAsync(string requestId, CancellationToken cancellation) => Read(await store.GetAsync(Open, requestId, cancellation));

    public async ValueTask<IReadOnlyList<ChangeDocument>> OpenAsync(CancellationToken cancellation)
    {
        var changes = new List<ChangeDocument>();
        await foreach (var item in store.ListAsync(Open, cancellation))
        {
            changes.Add(Read(item)!);
        }

        return [.. changes.OrderBy(change => change.CreatedAt)];
    }

    private async ValueTask<ChangeDocument> WithETagAsync(ChangeDocument change, CancellationToken cancellation) =>
        await store.GetAsync(Open, change.RequestId, cancellation) is { } item && item.Value.Span.SequenceEqual(Bytes(change)) ? change with { ETag = item.ETag } : throw Faster(change);

    private static PortUnavailableException Faster(ChangeDocument change) => new($"Another replica looks after the change {change.RequestId}.");

    private static byte[] Bytes(ChangeDocument change) => JsonSerializer.SerializeToUtf8Bytes(change, Json);

    private static ChangeDocument? Read(StateItem? item) => item is null
        ? null
        : (JsonSerializer.Deserialize<ChangeDocument>(item.Value.Span, Json) ?? throw new InvalidDataException($"The change {item.Key} is empty.")) with { ETag = item.ETag };
}
