using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;
using Grpc.AspNetCore.Server.Model;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Countersign.Fakes.Sidecar;

/// <summary>One sidecar: its two APIs, and what it does for its app.</summary>
public sealed class Sidecar : IAsyncDisposable
{
    private readonly CancellationTokenSource _stopping = new();
    private readonly List<Subscription> _subscriptions = [];
    private WebApplication? _server;
    private Task _watching = Task.CompletedTask;
    private int _disposed;

    internal Sidecar(Plane plane, SidecarOptions options)
    {
        Plane = plane;
        Rules = SidecarRules.Parse(options.Configuration);
        Options = options with
        {
            HttpPort = options.HttpPort == 0 ? LoopbackPorts.Next() : options.HttpPort,
            GrpcPort = options.GrpcPort == 0 ? LoopbackPorts.Next() : options.GrpcPort,
        };
        App = new AppChannel(options.App, options.AppToken);
    }

    internal Plane Plane { get; }

    internal SidecarRules Rules { get; }

    internal AppChannel App { get; }

    internal IReadOnlyList<string> Entities { get; private set; } = [];

    internal IReadOnlyList<Subscription> Subscriptions => _subscriptions;

    /// <summary>Options, with the ports that were chosen.</summary>
    public SidecarOptions Options { get; }

    /// <summary>Unique among all sidecars.</summary>
    public string Instance { get; } = Guid.NewGuid().ToString("N");

    /// <summary>Address of the HTTP API.</summary>
    public string HttpEndpoint => $"http://127.0.0.1:{Options.HttpPort}";

    /// <summary>Address of the gRPC API.</summary>
    public string GrpcEndpoint => $"http://127.0.0.1:{Options.GrpcPort}";

    /// <summary>Whether the app answered its last probe.</summary>
    public bool IsAppWell { get; private set; }

    internal async Task StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.ListenLocalhost(Options.HttpPort, listen => listen.Protocols = HttpProtocols.Http1);
            kestrel.ListenLocalhost(Options.GrpcPort, listen => listen.Protocols = HttpProtocols.Http2);
        });
        builder.WebHost.UseKestrelCore();
        builder.Services.AddSingleton(this);
        builder.Services.AddGrpc(grpc => grpc.MaxReceiveMessageSize = Options.MaxBody);
        builder.Services.AddSingleton<IServiceMethodProvider<GrpcApi>, GrpcMethods>();
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(1));
        _server = builder.Build();
        var http = new HttpApi(this);
        _server.UseRouting();
        _server.MapGrpcService<GrpcApi>();
        _server.MapFallback("{**path}", http.HandleAsync);
        await _server.StartAsync();
        _watching = Task.Run(WatchAsync);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        Plane.Remove(this);
        Detach();
        await _stopping.CancelAsync();
        await _watching;
        if (_server is not null)
        {
            await _server.StopAsync();
            await _server.DisposeAsync();
        }

        App.Dispose();
        _stopping.Dispose();
    }

    // An app is asked for its actors and subscriptions when it comes up, and loses both when it doesn't answer.
    private async Task WatchAsync()
    {
        try
        {
            while (true)
            {
                var well = await ProbeAsync();
                if (well && !IsAppWell)
                {
                    well = await AttachAsync();
                }
                else if (!well && IsAppWell)
                {
                    Detach();
                }

                IsAppWell = well;
                await Task.Delay(Plane.Options.ProbeInterval, _stopping.Token);
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    private async Task<bool> ProbeAsync()
    {
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token);
            limit.CancelAfter(TimeSpan.FromSeconds(5));
            return Options.HealthPath is null
                || (int)(await App.SendAsync(HttpMethod.Get, Options.HealthPath, null, [], limit.Token)).Status is >= 200 and < 300;
        }
        catch (Exception error) when (error is HttpRequestException or IOException || (error is OperationCanceledException && !_stopping.IsCancellationRequested))
        {
            return false;
        }
    }

    private async Task<bool> AttachAsync()
    {
        try
        {
            var config = await App.SendAsync(HttpMethod.Get, "dapr/config", null, [], _stopping.Token);
            Entities = config.Status == HttpStatusCode.OK && JsonNode.Parse(config.Body) is { } actors
                ? [.. actors["entities"]?.AsArray().Select(each => (string)each!) ?? []]
                : [];
            Plane.Actors.Register(this, Entities);
            var asked = await App.SendAsync(HttpMethod.Get, "dapr/subscribe", null, [], _stopping.Token);
            var wanted = asked.Status == HttpStatusCode.OK ? JsonNode.Parse(asked.Body)?.AsArray() ?? [] : [];
            foreach (var each in wanted)
            {
                Subscribe(each!.AsObject());
            }

            foreach (var each in Plane.Options.Subscriptions.Where(each => each.Scopes?.Contains(Options.AppId) != false))
            {
                Subscribe(each.Component, each.Topic, each.Route, each.DeadLetterTopic, each.Bulk);
            }

            return true;
        }
        catch (Exception error) when (error is HttpRequestException or IOException or JsonException)
        {
            Detach();
            return false;
        }
    }

    private void Subscribe(JsonObject wanted)
    {
        var topic = Text("topic")!;
        var bulk = wanted["bulkSubscribe"]?["enabled"]?.GetValue<bool>() == true ? (int?)wanted["bulkSubscribe"]!["maxMessagesCount"] ?? 100 : 0;
        var route = Text("route") ?? (string?)wanted["routes"]?["default"] ?? topic;
        Subscribe(Text("pubsubname") ?? Text("pubsubName") ?? "", topic, route, Text("deadLetterTopic"), bulk);

        string? Text(string name) => (string?)wanted[name] is { Length: > 0 } text ? text : null;
    }

    private void Subscribe(string component, string topic, string route, string? deadLetterTopic, int bulk)
    {
        if (PubSub(component) is not { } pubSub || !pubSub.MaySubscribe(Options.AppId, topic))
        {
            return;
        }

        var subscription = new Subscription(this, component, topic, route, deadLetterTopic, bulk);
        _subscriptions.Add(subscription);
        Plane.Broker.Join(pubSub.PerInstance ? Instance : Options.AppId, topic, durable: !pubSub.PerInstance, subscription);
    }

    private void Detach()
    {
        Plane.Actors.Unregister(this);
        Plane.Broker.Leave(_subscriptions);
        _subscriptions.Clear();
    }

    internal PubSubComponent? PubSub(string name) =>
        Plane.Options.PubSubs.FirstOrDefault(each => each.Name == name && each.Scopes?.Contains(Options.AppId) != false);

    internal StateComponent? StateStore(string name) =>
        Plane.Options.States.FirstOrDefault(each => each.Name == name && each.Scopes?.Contains(Options.AppId) != false);

    internal SecretComponent? SecretStore(string name) =>
        Plane.Options.Secrets.FirstOrDefault(each => each.Name == name && each.Scopes?.Contains(Options.AppId) != false);

    /// <summary>Publishes what an app sends, in an envelope unless it has one.</summary>
    internal void Publish(string component, string topic, byte[] data, string? contentType, IEnumerable<KeyValuePair<string, string>> metadata)
    {
        var pubSub = PubSub(component) ?? throw new NotFoundException($"pubsub {component} is not found");
        if (!pubSub.MayPublish(Options.AppId, topic))
        {
            throw new ForbiddenException($"topic {topic} is not allowed for app id {Options.AppId}");
        }

        Plane.Broker.Publish(topic, Envelopes.Make(Options.AppId, component, topic, data, contentType, metadata));
    }
}

internal sealed class NotFoundException(string message) : Exception(message);

internal sealed class ForbiddenException(string message) : Exception(message);
