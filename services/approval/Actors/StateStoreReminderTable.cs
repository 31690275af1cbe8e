using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;

namespace Countersign.Approval.Actors;

/// <summary>Reminders of Orleans in the approval service's own state, so that wake-ups outlive the process without a database beside it.</summary>
internal sealed class StateStoreReminderTable([FromKeyedServices(AppIds.Approval)] IStateStore store) : IReminderTable
{
    private const int MaxAttempts = 10;

    public Task Init() => Task.CompletedTask;

    public async Task<ReminderTableData> ReadRows(GrainId grainId)
    {
        // One reminder a grain is what we use; the list is small enough only when asked for ranges.
        var rows = new List<ReminderEntry>();
        await foreach (var row in ListAsync())
        {
            if (row.GrainId == grainId)
            {
                rows.Add(row);
            }
        }

        return new ReminderTableData(rows);
    }

    public async Task<ReminderTableData> ReadRows(uint begin, uint end)
    {
        var rows = new List<ReminderEntry>();
        await foreach (var row in ListAsync())
        {
            // (begin, end], around the end of the ring where begin is not below end; the whole ring where they are equal.
            var hash = row.GrainId.GetUniformHashCode();
            if (begin < end ? hash > begin && hash <= end : hash > begin || hash <= end)
            {
                rows.Add(row);
            }
        }

        return new ReminderTableData(rows);
    }

    public async Task<ReminderEntry?> ReadRow(GrainId grainId, string reminderName)
    {
        var item = await store.GetAsync(Collections.Reminders, Key(grainId, reminderName), CancellationToken.None);
        return item is null ? null : Entry(StateStoreDocuments.Read<Row>(item));
    }

    public async Task<string?> UpsertRow(ReminderEntry entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        var key = Key(entry.GrainId, entry.ReminderName);
        var row = new Row(entry.GrainId.ToString(), entry.ReminderName, entry.StartAt, entry.Period, Guid.NewGuid().ToString("N"));
        for (var attempt = 0; attempt < MaxAttempts; attempt++)
        {
            var known = await store.GetAsync(Collections.Reminders, key, CancellationToken.None);
            if (await store.SaveAsync(Collections.Reminders, key, row, known?.ETag, CancellationToken.None))
            {
                entry.ETag = row.ETag;
                return row.ETag;
            }
        }

        throw new PortUnavailableException("a wake-up is changed by others again and again");
    }

    public async Task<bool> RemoveRow(GrainId grainId, string reminderName, string eTag)
    {
        var key = Key(grainId, reminderName);
        var known = await store.GetAsync(Collections.Reminders, key, CancellationToken.None);
        return known is not null
            && StateStoreDocuments.Read<Row>(known).ETag == eTag
            && await store.TryDeleteAsync(Collections.Reminders, key, known.ETag, CancellationToken.None);
    }

    public Task TestOnlyClearTable() => throw new NotSupportedException("Reminders are never cleared.");

    private async IAsyncEnumerable<ReminderEntry> ListAsync()
    {
        await foreach (var item in store.ListAsync(Collections.Reminders, CancellationToken.None))
        {
            yield return Entry(StateStoreDocuments.Read<Row>(item));
        }
    }

    private static ReminderEntry Entry(Row row) => new()
    {
        GrainId = GrainId.Parse(row.Grain),
        ReminderName = row.Name,
        StartAt = row.StartAt,
        Period = row.Period,
        ETag = row.ETag,
    };

    private static string Key(GrainId grainId, string name) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(JsonSerializer.Serialize(new[] { grainId.ToString(), name }, WorkflowJson.Options))));

    private sealed record Row(string Grain, string Name, DateTime StartAt, TimeSpan Period, string ETag);
}
