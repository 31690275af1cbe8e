using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using Countersign.Approval.Contracts;

namespace Countersign.Approval.Tests;

/// <summary>Server-sent events, as a client reads them.</summary>
[Trait("group", "approval")]
public sealed class EventStreamTests(ServerFixture fixture) : IClassFixture<ServerFixture>
{
    private readonly ApprovalServer _server = fixture.Server;

    [Fact]
    public async Task Changes_arrive_and_a_stream_resumes_where_it_ended()
    {
        string last;
        RequestView asked;
        using (var stream = await Stream.OpenAsync(_server, "bob"))
        {
            asked = await _server.OpenAsync();
            var opened = await stream.NextAsync(asked.Id);
            Assert.Equal((1L, RequestState.Pending), (opened.Changed!.Version, opened.Changed.State));
            last = opened.Id;
        }

        await _server.ApproveAsync(asked);
        using var resumed = await Stream.OpenAsync(_server, "bob", last);
        var approved = await resumed.NextAsync(asked.Id);
        Assert.Equal((2L, RequestState.Approved), (approved.Changed!.Version, approved.Changed.State));

        using var elsewhere = await Stream.OpenAsync(_server, "bob", "0123456789ab-7");
        Assert.Equal("reset", (await elsewhere.ReadAsync()).Name);
    }

    [Fact]
    public async Task Nobody_hears_of_what_they_may_not_see()
    {
        _server.Peers.Person("eve", enrolled: false);
        using var eve = await Stream.OpenAsync(_server, "eve");
        var other = await _server.OpenAsync();
        var own = await _server.OpenAsync(_server.Create("eve"));
        var first = await eve.ReadAsync();
        Assert.Equal(own.Id, first.Changed!.Request);
        Assert.NotEqual(other.Id, first.Changed.Request);

        _server.Peers.Person("gone", disabled: true);
        using var disabled = await _server.SendAsync(HttpMethod.Get, "/approval/v1/events", _server.Peers.Token("gone"));
        Assert.Equal("person-disabled", await ApprovalServer.ProblemAsync(disabled, HttpStatusCode.Forbidden));
        using var nobody = await _server.SendAsync(HttpMethod.Get, "/approval/v1/events", null);
        Assert.Equal(HttpStatusCode.Unauthorized, nobody.StatusCode);
        using var service = await _server.SendAsync(HttpMethod.Get, "/approval/v1/events", _server.Service("proxy"));
        Assert.Equal(HttpStatusCode.Forbidden, service.StatusCode);
    }

    [Fact]
    public async Task A_person_has_five_streams_and_one_that_ends_makes_room()
    {
        var streams = new List<Stream>();
        for (var number = 0; number < 5; number++)
        {
            streams.Add(await Stream.OpenAsync(_server, "dave"));
        }

        using (var sixth = await _server.SendAsync(HttpMethod.Get, "/approval/v1/events", _server.Peers.Token("dave")))
        {
            Assert.Equal("too-many-streams", await ApprovalServer.ProblemAsync(sixth, HttpStatusCode.TooManyRequests));
        }

        streams[0].Dispose();
        Stream? again = null;
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (again is null)
        {
            Assert.False(limit.IsCancellationRequested, "the stream that ended makes no room");
            again = await Stream.TryOpenAsync(_server, "dave", null);
        }

        streams.Add(again);
        streams.ForEach(stream => stream.Dispose());
    }

    private sealed record Event(string Name, string Id, RequestChanged? Changed);

    private sealed class Stream(HttpResponseMessage response, StreamReader reader) : IDisposable
    {
        public static async Task<Stream> OpenAsync(ApprovalServer server, string person, string? last = null)
        {
            var stream = await TryOpenAsync(server, person, last);
            Assert.NotNull(stream);
            return stream;
        }

        public static async Task<Stream?> TryOpenAsync(ApprovalServer server, string person, string? last)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/approval/v1/events");
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", server.Peers.Token(person));
            if (last is not null)
            {
                request.Headers.Add("Last-Event-ID", last);
            }

            var response = await server.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            if (!response.IsSuccessStatusCode)
            {
                response.Dispose();
                return null;
            }

            Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
            var stream = new Stream(response, new StreamReader(await response.Content.ReadAsStreamAsync()));
            Assert.Equal("retry: 3000", await stream.LineAsync());
            Assert.Equal("", await stream.LineAsync());
            return stream;
        }

        /// <summary>The next event about a request.</summary>
        public async Task<Event> NextAsync(string request)
        {
            while (true)
            {
                if (await ReadAsync() is { Changed: { } changed } found && changed.Request == request)
                {
                    return found;
                }
            }
        }

        public async Task<Event> ReadAsync()
        {
            var fields = new Dictionary<string, string>();
            while (await LineAsync() is { } line)
            {
                if (line.Length == 0)
                {
                    if (fields.TryGetValue("event", out var name))
                    {
                        return new Event(name, fields["id"], name == "request" ? JsonSerializer.Deserialize<RequestChanged>(fields["data"], ApprovalServer.Json) : null);
                    }

                    fields.Clear();
                    continue;
                }

                var colon = line.IndexOf(':', StringComparison.Ordinal);
                fields[line[..colon]] = line[(colon + 1)..].TrimStart();
            }

            throw new EndOfStreamException();
        }

        public void Dispose()
        {
            reader.Dispose();
            response.Dispose();
        }

        private async Task<string?> LineAsync()
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
            return await reader.ReadLineAsync(limit.Token);
        }
    }
}
