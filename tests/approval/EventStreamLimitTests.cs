using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Platform.Ports;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Approval.Tests;

/// <summary>What ends a stream of events, and that none costs more than it may.</summary>
[Trait("group", "approval")]
public sealed class EventStreamLimitTests : IAsyncLifetime
{
    private ApprovalServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await ApprovalServer.StartAsync(new()
    {
        ["Countersign:Approval:Events:HeartbeatSeconds"] = "1",
        ["Countersign:Approval:Events:PatienceSeconds"] = "1",
        ["Countersign:Approval:Events:MaxStreams"] = "3",
        ["Countersign:Approval:Events:MaxStreamsOfOne"] = "1",
    });

    public async ValueTask DisposeAsync() => await _server.DisposeAsync();

    [Fact]
    public async Task Something_is_sent_now_and_then_though_nothing_happens()
    {
        using var stream = await OpenAsync("bob");
        Assert.Equal(["retry: 3000", "", ":", "", ":", ""], [await LineAsync(stream), await LineAsync(stream), await LineAsync(stream), await LineAsync(stream), await LineAsync(stream), await LineAsync(stream)]);
    }

    [Fact]
    public async Task There_are_no_more_streams_than_there_may_be()
    {
        var streams = new[] { await OpenAsync("bob"), await OpenAsync("carol"), await OpenAsync("dave") };
        using (var fourth = await _server.SendAsync(HttpMethod.Get, "/approval/v1/events", _server.Peers.Token("alice")))
        {
            Assert.Equal("too-many-streams", await ApprovalServer.ProblemAsync(fourth, HttpStatusCode.TooManyRequests));
        }

        foreach (var stream in streams)
        {
            stream.Dispose();
        }

        (await UntilOpenAsync("alice", null)).Dispose();
    }

    [Fact]
    public async Task A_stream_ends_with_its_token_and_says_nothing_after_it()
    {
        using var stream = await OpenAsync("bob");
        var before = await _server.OpenAsync();
        Assert.Contains(before.Id, await EventAsync(stream), StringComparison.Ordinal);
        _server.Clock.Shift += TimeSpan.FromMinutes(16);
        var after = await _server.OpenAsync();
        Assert.DoesNotContain(after.Id, await RestAsync(stream), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_ends_where_its_person_was_disabled_or_nobody_can_say()
    {
        using (var stream = await OpenAsync("bob"))
        {
            _server.Peers.Person("bob", disabled: true);
            await RestAsync(stream);
        }

        using (var stream = await UntilOpenAsync("carol", null))
        {
            _server.Peers.IdentityDown = true;
            await RestAsync(stream);
        }

        using var now = await _server.SendAsync(HttpMethod.Get, "/approval/v1/events", _server.Peers.Token("carol"));
        Assert.Equal("unavailable", await ApprovalServer.ProblemAsync(now, HttpStatusCode.ServiceUnavailable));
    }

    [Fact]
    public async Task Who_does_not_read_is_cut_and_loses_nothing_when_it_comes_back()
    {
        var asked = await _server.OpenAsync();
        var address = _server.Http.BaseAddress!;
        using var slow = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4_096 };
        await slow.ConnectAsync(address.Host, address.Port);
        await slow.SendAsync(Encoding.ASCII.GetBytes($"GET /approval/v1/events HTTP/1.1\r\nHost: {address.Authority}\r\nAuthorization: Bearer {_server.Peers.Token("bob")}\r\n\r\n"));
        await ApprovalServer.UntilAsync(() => slow.Available > 0, "an answer");

        // Changes come until somebody else can have the person's only stream: the one that nobody reads was cut.
        var bus = _server.Services.GetRequiredService<IEventBus>();
        var published = 0;
        StreamReader? next = null;
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(120));
        while (next is null)
        {
            Assert.False(limit.IsCancellationRequested, $"after {published} changes the stream still is there");
            for (var batch = 0; batch < 100; batch++)
            {
                published++;
                var changed = new RequestChanged($"{asked.Id}:x{published}", asked.Id, published + 1_000, RequestState.Pending);
                await bus.PublishAsync(Topics.Approvals, changed.Id, "countersign.request.changed", JsonSerializer.SerializeToUtf8Bytes(changed, ApprovalServer.Json), default);
            }

            next = await TryOpenAsync("bob", null);
        }

        next.Dispose();
        var read = new StringBuilder();
        var buffer = new byte[64 * 1024];
        try
        {
            while (await slow.ReceiveAsync(buffer) is > 0 and var length)
            {
                read.Append(Encoding.UTF8.GetString(buffer.AsSpan(0, length)));
            }
        }
        catch (SocketException)
        {
            // Cut.
        }

        // The last whole event that arrived.
        var text = read.ToString();
        var ids = Ids(text[..(text.LastIndexOf("\n\n", StringComparison.Ordinal) + 2)]);
        Assert.NotEmpty(ids);
        Assert.Equal(Enumerable.Range((int)Number(ids[0]), ids.Count).Select(each => (long)each), ids.Select(Number));
        using (var resumed = await UntilOpenAsync("bob", ids[^1]))
        {
            // On a slow machine more was published than is kept: then it must be told so.
            var (following, last) = (Number(ids[^1]) + 1, Number(ids[0]) + published - 1);
            if (last - following >= 1_000)
            {
                Assert.StartsWith("event: reset\n", await EventAsync(resumed), StringComparison.Ordinal);
                following = last + 1;
            }

            for (var number = following; number <= last; number++)
            {
                Assert.Contains($"-{number.ToString(CultureInfo.InvariantCulture)}\n", await EventAsync(resumed), StringComparison.Ordinal);
            }
        }

        // What is kept is bounded: who was away for longer is told so.
        while (published < 1_200)
        {
            published++;
            var changed = new RequestChanged($"{asked.Id}:x{published}", asked.Id, published + 1_000, RequestState.Pending);
            await bus.PublishAsync(Topics.Approvals, changed.Id, "countersign.request.changed", JsonSerializer.SerializeToUtf8Bytes(changed, ApprovalServer.Json), default);
        }

        using var late = await UntilOpenAsync("bob", ids[0]);
        Assert.StartsWith("event: reset\n", await EventAsync(late), StringComparison.Ordinal);
    }

    private static List<string> Ids(string text) =>
        [.. text.Split('\n').Where(line => line.StartsWith("id: ", StringComparison.Ordinal)).Select(line => line[4..].TrimEnd('\r'))];

    private static long Number(string id) => long.Parse(id[(id.IndexOf('-', StringComparison.Ordinal) + 1)..], CultureInfo.InvariantCulture);

    private async Task<StreamReader> OpenAsync(string person)
    {
        var stream = await TryOpenAsync(person, null);
        Assert.NotNull(stream);
        return stream;
    }

    // A stream that ended makes room a moment later.
    private async Task<StreamReader> UntilOpenAsync(string person, string? last)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (true)
        {
            Assert.False(limit.IsCancellationRequested, "there is no room");
            if (await TryOpenAsync(person, last) is { } stream)
            {
                return stream;
            }
        }
    }

    private async Task<StreamReader?> TryOpenAsync(string person, string? last)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/approval/v1/events");
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", _server.Peers.Token(person));
        if (last is not null)
        {
            request.Headers.Add("Last-Event-ID", last);
        }

        var response = await _server.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        if (response.IsSuccessStatusCode)
        {
            return new StreamReader(await response.Content.ReadAsStreamAsync());
        }

        response.Dispose();
        return null;
    }

    private static async Task<string?> LineAsync(StreamReader stream)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        return await stream.ReadLineAsync(limit.Token);
    }

    // The lines of the next event, without comments and what isn't one.
    private static async Task<string> EventAsync(StreamReader stream)
    {
        var lines = new StringBuilder();
        while (await LineAsync(stream) is { } line)
        {
            if (line.Length > 0)
            {
                lines.Append(line).Append('\n');
                continue;
            }

            if (lines.ToString().StartsWith("event:", StringComparison.Ordinal))
            {
                return lines.ToString();
            }

            lines.Clear();
        }

        throw new EndOfStreamException();
    }

    // All that comes until the stream ends.
    private static async Task<string> RestAsync(StreamReader stream)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        return await stream.ReadToEndAsync(limit.Token);
    }
}
