using System.Text.Json;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Actors;

/// <summary>Collections of the approval service's state.</summary>
public static class Collections
{
    /// <summary>One document a request.</summary>
    public const string Requests = "requests";
    /// <summary>One document a requester.</summary>
    public const string Requesters = "requesters";
    /// <summary>Wake-ups.</summary>
    public const string Reminders = "reminders";
}

/// <summary>Documents of workflows in the state store.</summary>
public static class StateStoreDocuments
{
    /// <summary>Reads one.</summary>
    /// <exception cref="PortUnavailableException">The store can't be reached, or what it has can't be read.</exception>
    public static async ValueTask<Stored<TDocument>?> LoadAsync<TDocument>(
        this IDocumentStore store, string collection, string key, CancellationToken cancellation)
        where TDocument : class
    {
        ArgumentNullException.ThrowIfNull(store);
        var item = await store.GetAsync(collection, key, cancellation);
        return item is null ? null : new Stored<TDocument>(Read<TDocument>(item), item.ETag);
    }

    /// <summary>Writes one.</summary>
    public static ValueTask<bool> SaveAsync<TDocument>(
        this IDocumentStore store, string collection, string key, TDocument document, string? etag, CancellationToken cancellation)
        where TDocument : class
    {
        ArgumentNullException.ThrowIfNull(store);
        return store.TrySaveAsync(collection, key, JsonSerializer.SerializeToUtf8Bytes(document, WorkflowJson.Options), etag, cancellation);
    }

    /// <summary>The document of an item.</summary>
    /// <exception cref="PortUnavailableException">It can't be read.</exception>
    public static TDocument Read<TDocument>(StateItem item)
        where TDocument : class
    {
        ArgumentNullException.ThrowIfNull(item);
        try
        {
            return JsonSerializer.Deserialize<TDocument>(item.Value.Span, WorkflowJson.Options)
                ?? throw new PortUnavailableException($"the document {item.Key} is empty");
        }
        catch (JsonException error)
        {
            throw new PortUnavailableException($"the document {item.Key} can't be read", error);
        }
    }
}
