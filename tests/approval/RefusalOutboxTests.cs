using Countersign.Approval.Host;
using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Countersign.Recorder.Contracts;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Countersign.Approval.Tests;

/// <summary>Every refused attempt is told, whatever is down when it happens, and a flood of them is counted.</summary>
[Trait("group", "approval")]
public sealed class RefusalOutboxTests : IAsyncLifetime
{
    private readonly ShiftedClock _clock = new();
    private readonly TestBus _bus = new();
    private ApprovalServer _server = null!;
    private int _number;

    public async ValueTask InitializeAsync() => _server = await ApprovalServer.StartAsync();

    public async ValueTask DisposeAsync()
    {
        _store?.Dispose();
        await _server.DisposeAsync();
    }

    [Fact]
    public async Task What_could_not_be_told_is_told_by_the_next_process_once_the_broker_is_back()
    {
        _bus.Down = true;
        using (var first = Outbox())
        {
            await first.AddAsync(Refused("one"), "mallory");
            await first.AddAsync(Refused("two"), "mallory");
            await first.FlushAsync(default);
        }

        Assert.Empty(_bus.Told);
        _bus.Down = false;
        using var next = Outbox();
        await next.FlushAsync(default);
        Assert.Equal(["one", "two"], _bus.Told.Select(told => told.Id).Order());
        await next.FlushAsync(default);
        Assert.Equal(2, _bus.Told.Count);
        await next.AddAsync(Refused("three"), "mallory");
        Assert.Equal("three", _bus.Told[^1].Id);
        Assert.Equal(0, await WaitingAsync());
    }

    [Trait("group", "attacks")]
    [Fact]
    public async Task A_flood_is_written_down_up_to_a_number_for_each_source_and_counted_beyond_it()
    {
        using var outbox = Outbox();
        for (var number = 0; number < RefusalThrottle.PerWindow + 50; number++)
        {
            await outbox.AddAsync(Refused(), "203.0.113.9");
        }

        // Somebody else's attempt isn't lost in it.
        await outbox.AddAsync(Refused("quiet"), "alice");
        Assert.Equal(RefusalThrottle.PerWindow + 1, _bus.Told.Count);
        Assert.Contains(_bus.Told, told => told.Id == "quiet");
        await outbox.FlushAsync(default);
        Assert.DoesNotContain(_bus.Told, told => told.Action == RefusalOutbox.Many);

        _clock.Shift += RefusalThrottle.Window;
        await outbox.FlushAsync(default);
        var many = Assert.Single(_bus.Told, told => told.Action == RefusalOutbox.Many);
        Assert.Equal(("203.0.113.9", "50", "test", false), (many.Details["source"], many.Details["count"], many.Details["latest"], many.Success));
        await outbox.AddAsync(Refused("later"), "203.0.113.9");
        Assert.Equal("later", _bus.Told[^1].Id);
    }

    [Fact]
    public async Task A_burst_of_bad_tokens_is_told_whole()
    {
        const int Burst = 120;
        await Task.WhenAll(Enumerable.Range(0, Burst).Select(async _ =>
        {
            using var refused = await _server.SendAsync(HttpMethod.Get, "/approval/v1/requests", "bad");
            Assert.Equal(System.Net.HttpStatusCode.Unauthorized, refused.StatusCode);
        }));
        await ApprovalServer.UntilAsync(() => _server.Audits.Count(audit => audit is { Action: "request.attempt-refused", Success: false }) == Burst, "an event for each");
        Assert.All(_server.Audits.Where(audit => audit.Action == "request.attempt-refused"), audit => Assert.Equal("127.0.0.1", audit.Details["source"].Replace("::ffff:", "", StringComparison.Ordinal)));
    }

    private RefusalOutbox Outbox() => new(Store, _bus, _clock, NullLogger<RefusalOutbox>.Instance);

    // Not approval's own state: its own outbox would tell what is put there.
    private SqliteStateStore Store => _store ??= new SqliteStateStore(System.IO.Path.Combine(_server.Data, "refusals-test.db"));

    private SqliteStateStore? _store;

    private async Task<int> WaitingAsync()
    {
        var waiting = 0;
        await foreach (var _ in Store.ListAsync(RefusalOutbox.Collection, default))
        {
            waiting++;
        }

        return waiting;
    }

    private AuditEvent Refused(string? id = null) => new()
    {
        Id = id ?? $"refused-{_number++}",
        Service = AppIds.Approval,
        Action = "test",
        At = _clock.GetUtcNow(),
        Person = "",
        Name = "",
        Subject = "",
        Success = false,
        Details = new Dictionary<string, string> { ["code"] = "self-approval" },
    };

    private sealed class TestBus : IEventBus
    {
        public bool Down { get; set; }

        public List<AuditEvent> Told { get; } = [];

        public ValueTask PublishAsync(string topic, string id, string type, ReadOnlyMemory<byte> data, CancellationToken cancellation)
        {
            if (Down)
            {
                throw new PortUnavailableException("down");
            }

            Assert.Equal((Topics.Audit, "countersign.audit"), (topic, type));
            Told.Add(OcsfEvents.Read(data.Span));
            return ValueTask.CompletedTask;
        }
    }
}
