using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;
using Countersign.Approval.Contracts;

namespace Countersign.Approval.Tests;

/// <summary>The host as a process of its own, killed while it works.</summary>
[Trait("group", "faults")]
public sealed class KillTests
{
    [Fact]
    public async Task Killed_while_it_redeems_each_operation_is_still_redeemed_once()
    {
        // A server only for its data, keys and peers; the process under test is another one on the same directory.
        await using var server = await ApprovalServer.StartAsync();
        await server.StopHostAsync();
        const int Count = 20;
        RequestView asked;
        RequestView pending;
        await using (var host = await HostProcess.StartAsync(server))
        {
            using var opened = await host.PostAsync("", server.Service("proxy"), server.Create(digests: [.. Enumerable.Range(0, Count).Select(_ => server.Digest())]));
            asked = (await ApprovalServer.ReadAsync<CreateRequestResult>(opened)).Request;
            using var waiting = await host.PostAsync("", server.Service("proxy"), server.Create("dave"));
            pending = (await ApprovalServer.ReadAsync<CreateRequestResult>(waiting)).Request;
            using var approved = await host.PostAsync($"/{asked.Id}/approve", server.Peers.Token("bob"), new DecideRequest(asked.Digest));
            Assert.Equal(RequestState.Approved, (await ApprovalServer.ReadAsync<RequestView>(approved)).State);
        }

        var goAhead = new int[Count];
        var next = 0;
        for (var round = 0; next < Count; round++)
        {
            Assert.True(round < 2 * Count, "no progress");
            await using var host = await HostProcess.StartAsync(server);
            // Two attempts race for each operation; the process dies in the middle of one of them.
            var attempts = new List<Task<(int Index, HttpStatusCode? Status)>>();
            for (var index = next; index < Math.Min(next + 6, Count); index++)
            {
                attempts.Add(RedeemAsync(host, server, asked, index, $"first-{index}"));
                attempts.Add(RedeemAsync(host, server, asked, index, $"other-{round}-{index}"));
            }

            await Task.WhenAny(attempts);
            await host.DisposeAsync();
            foreach (var (index, status) in await Task.WhenAll(attempts))
            {
                goAhead[index] += status == HttpStatusCode.OK ? 1 : 0;
            }

            await using var again = await HostProcess.StartAsync(server);
            using var read = await again.SendAsync(HttpMethod.Get, $"/{asked.Id}", server.Service("proxy"), null);
            var redeemed = (await ApprovalServer.ReadAsync<RequestView>(read)).Redeemed;
            Assert.True(redeemed >= next, "a redemption was lost");
            Assert.All(Enumerable.Range(0, redeemed), index => Assert.InRange(goAhead[index], 0, 1));
            Assert.All(Enumerable.Range(redeemed, Count - redeemed), index => Assert.Equal(0, goAhead[index]));
            using var still = await again.SendAsync(HttpMethod.Get, $"/{pending.Id}", server.Service("proxy"), null);
            Assert.Equal(RequestState.Pending, (await ApprovalServer.ReadAsync<RequestView>(still)).State);
            next = redeemed;
        }
    }

    private static async Task<(int, HttpStatusCode?)> RedeemAsync(HostProcess host, ApprovalServer server, RequestView asked, int index, string id)
    {
        try
        {
            using var response = await host.PostAsync(
                $"/{asked.Id}/redeem", server.Service("proxy"), new RedeemRequest(index, asked.Operations[index].Digest, id, server.Peers.Session("alice")));
            return (index, response.StatusCode);
        }
        catch (Exception error) when (error is HttpRequestException or IOException or OperationCanceledException)
        {
            return (index, null);
        }
    }

    private sealed class HostProcess : IAsyncDisposable
    {
        private readonly Process _process;
        private readonly HttpClient _http;

        private HostProcess(Process process, HttpClient http)
        {
            _process = process;
            _http = http;
        }

        public static async Task<HostProcess> StartAsync(ApprovalServer server)
        {
            int port;
            using (var probe = new TcpListener(IPAddress.Loopback, 0))
            {
                probe.Start();
                port = ((IPEndPoint)probe.LocalEndpoint).Port;
            }

            var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = AppContext.BaseDirectory };
            start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "Countersign.Approval.Host.dll"));
            start.Environment["ASPNETCORE_URLS"] = $"http://127.0.0.1:{port}";
            start.Environment["Countersign__Data"] = server.Data;
            start.Environment["Countersign__Services__identity"] = server.Peers.Address;
            start.Environment["Countersign__Services__policy"] = server.Peers.Address;
            var process = Process.Start(start)!;
            var output = Task.WhenAll(process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
            var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
            while (true)
            {
                try
                {
                    using var ready = await http.GetAsync(new Uri("/health/ready", UriKind.Relative), limit.Token);
                    if (ready.IsSuccessStatusCode)
                    {
                        return new HostProcess(process, http);
                    }
                }
                catch (HttpRequestException)
                {
                    Assert.False(process.HasExited, process.HasExited ? string.Concat(await output) : "");
                }

                await Task.Delay(50, limit.Token);
            }
        }

        public Task<HttpResponseMessage> PostAsync(string path, string token, object body) => SendAsync(HttpMethod.Post, path, token, body);

        public async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, string token, object? body)
        {
            using var request = new HttpRequestMessage(method, "/approval/v1/requests" + path);
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
            request.Content = body is null ? null : JsonContent.Create(body, body.GetType(), options: new JsonSerializerOptions(JsonSerializerDefaults.Web));
            return await _http.SendAsync(request);
        }

        public async ValueTask DisposeAsync()
        {
            if (!_process.HasExited)
            {
                _process.Kill();
            }

            await _process.WaitForExitAsync();
            _http.Dispose();
        }
    }
}
