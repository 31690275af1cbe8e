using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Countersign.Distributed.Tests.Double;

/// <summary>A request as an app got it from its sidecar.</summary>
internal sealed record Received(string Method, string Path, IReadOnlyDictionary<string, string> Headers, string Body);

/// <summary>An app that notes what its sidecar sends, and answers as it is told.</summary>
internal sealed class FakeApp : IAsyncDisposable
{
    private WebApplication _server = null!;

    public ConcurrentQueue<Received> Requests { get; } = new();

    /// <summary>What it hosts.</summary>
    public string[] Entities { get; set; } = [];

    /// <summary>What it subscribes to.</summary>
    public JsonArray Subscriptions { get; set; } = [];

    /// <summary>Answers by path; what is absent gets 200 without a body.</summary>
    public Func<Received, Task<(int Status, string Body)>> Answer { get; set; } = _ => Task.FromResult((200, ""));

    public Uri Address { get; private set; } = null!;

    public static async Task<FakeApp> StartAsync(Action<FakeApp>? setup = null, string url = "http://127.0.0.1:0")
    {
        var app = new FakeApp();
        setup?.Invoke(app);
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls(url);
        app._server = builder.Build();
        app._server.Run(app.HandleAsync);
        await app._server.StartAsync();
        app.Address = new Uri(app._server.Urls.Single());
        return app;
    }

    public IReadOnlyList<Received> To(string path) => [.. Requests.Where(request => request.Path == path)];

    public async ValueTask DisposeAsync() => await _server.DisposeAsync();

    private async Task HandleAsync(HttpContext context)
    {
        var path = context.Request.Path + context.Request.QueryString;
        if (path == "/healthz")
        {
            return;
        }

        if (path == "/dapr/config")
        {
            await context.Response.WriteAsync(JsonSerializer.Serialize(new { entities = Entities }));
            return;
        }

        if (path == "/dapr/subscribe")
        {
            await context.Response.WriteAsync(Subscriptions.ToJsonString());
            return;
        }

        using var reader = new StreamReader(context.Request.Body);
        var received = new Received(
            context.Request.Method, path, context.Request.Headers.ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase),
            await reader.ReadToEndAsync());
        Requests.Enqueue(received);
        var (status, body) = await Answer(received);
        context.Response.StatusCode = status;
        await context.Response.WriteAsync(body);
    }
}

/// <summary>Waits for a condition, not for a time.</summary>
internal static class Until
{
    public static async Task TrueAsync(Func<bool> condition, int seconds = 30) => await TrueAsync(() => Task.FromResult(condition()), seconds);

    /// <param name="condition">What must become true.</param>
    /// <param name="seconds">Longest wait.</param>
    /// <param name="problem">Says what is missing, where it doesn't.</param>
    public static async Task TrueAsync(Func<Task<bool>> condition, int seconds = 30, Func<string>? problem = null)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(seconds));
        try
        {
            while (!await condition())
            {
                await Task.Delay(15, limit.Token);
            }
        }
        catch (OperationCanceledException) when (problem is not null && !TestContext.Current.CancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException(problem());
        }
    }
}
