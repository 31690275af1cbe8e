using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http.Features;

namespace Countersign.Fakes.Sidecar;

/// <summary>The HTTP API of a sidecar.</summary>
internal sealed class HttpApi(Sidecar sidecar)
{
    private const string Token = "dapr-api-token";

    private Plane Plane => sidecar.Plane;

    public async Task HandleAsync(HttpContext context)
    {
        // SDKs ask for //v1.0/… ; what is to be forwarded is taken as it was sent, undecoded.
        var target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        var query = target.IndexOf('?', StringComparison.Ordinal);
        var path = (query < 0 ? target : target[..query]).TrimStart('/');
        var parts = path.Split('/');
        if (context.Request.Headers.Sum(header => header.Key.Length + header.Value.Sum(value => value?.Length ?? 0)) > sidecar.Options.ReadBuffer)
        {
            await ErrorAsync(context, 431, "ERR_HEADERS_TOO_LARGE", "Error when parsing request: small read buffer");
            return;
        }

        var open = path is "v1.0/healthz" or "v1.0/healthz/outbound";
        if (!open && !TokenIsGood(sidecar.Options.ApiToken, context.Request.Headers[Token]))
        {
            await ErrorAsync(context, 401, "ERR_API_TOKEN", "invalid api token");
            return;
        }

        if (parts is not ["v1.0", ..] || !sidecar.Rules.Serves(parts.ElementAtOrDefault(1) ?? "", "http"))
        {
            await ErrorAsync(context, 404, "ERR_NOT_FOUND", "not found");
            return;
        }

        byte[] body;
        using (var buffer = new MemoryStream())
        {
            var chunk = new byte[64 * 1024];
            int read;
            while ((read = await context.Request.Body.ReadAsync(chunk, context.RequestAborted)) > 0)
            {
                buffer.Write(chunk, 0, read);
                if (buffer.Length > sidecar.Options.MaxBody)
                {
                    await ErrorAsync(context, 413, "ERR_BODY_TOO_LARGE", "request body too large");
                    return;
                }
            }

            body = buffer.ToArray();
        }

        try
        {
            await RouteAsync(context, parts[1..], query < 0 ? "" : target[query..], body);
        }
        catch (StateException error)
        {
            var (status, code) = error.Failure switch
            {
                StateFailure.Mismatch => (409, "ERR_STATE_SAVE"),
                StateFailure.BadETag => (400, "ERR_STATE_SAVE"),
                StateFailure.Transaction => (500, "ERR_STATE_TRANSACTION"),
                _ => (500, "ERR_STATE_SAVE"),
            };
            await ErrorAsync(context, status, code, error.Message);
        }
        catch (SchedulerException error)
        {
            await ErrorAsync(context, 500, context.Request.Method == "DELETE" ? "ERR_ACTOR_REMINDER_DELETE" : "ERR_ACTOR_REMINDER_CREATE", error.Message);
        }
        catch (NotFoundException error)
        {
            await ErrorAsync(context, 404, "ERR_PUBSUB_NOT_FOUND", error.Message);
        }
        catch (ForbiddenException error)
        {
            await ErrorAsync(context, 403, "ERR_PUBSUB_FORBIDDEN", error.Message);
        }
        catch (Exception error) when (error is JsonException or FormatException or InvalidOperationException)
        {
            await ErrorAsync(context, 400, "ERR_MALFORMED_REQUEST", error.Message);
        }
        catch (IOException error)
        {
            await ErrorAsync(context, 500, "ERR_PUBSUB_PUBLISH_MESSAGE", error.Message);
        }
    }

    internal static bool TokenIsGood(string? expected, string? given) =>
        expected is null || (given is not null && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(expected), Encoding.UTF8.GetBytes(given)));

    private Task RouteAsync(HttpContext context, string[] parts, string query, byte[] body)
    {
        var verb = context.Request.Method;
        switch (parts)
        {
            case ["healthz"] or ["healthz", "outbound"]:
                context.Response.StatusCode = 204;
                return Task.CompletedTask;
            case ["metadata"]:
                return context.Response.WriteAsJsonAsync(new
                {
                    id = sidecar.Options.AppId,
                    runtimeVersion = "double",
                    actorRuntime = new { activeActors = sidecar.Entities.Select(type => new { type, count = 0 }) },
                    subscriptions = sidecar.Subscriptions.Select(each => new { pubsubname = each.Component, topic = each.Topic, deadLetterTopic = each.DeadLetterTopic, rules = new[] { new { path = each.Route } } }),
                });
            case ["publish", var component, var topic]:
                sidecar.Publish(component, topic, body, context.Request.ContentType, Metadata(context));
                context.Response.StatusCode = 204;
                return Task.CompletedTask;
            case ["publish", "bulk", var component, var topic]:
                foreach (var entry in JsonNode.Parse(body)!.AsArray())
                {
                    var type = (string?)entry!["contentType"];
                    var data = entry["event"] is JsonValue text && text.TryGetValue<string>(out var plain)
                        ? Encoding.UTF8.GetBytes(plain)
                        : JsonSerializer.SerializeToUtf8Bytes(entry["event"]);
                    sidecar.Publish(component, topic, data, type, Metadata(context));
                }

                context.Response.StatusCode = 204;
                return Task.CompletedTask;
            case ["invoke", var app, "method", ..]:
                return InvokeAsync(context, app, string.Join('/', parts[3..]) + query, string.Join('/', parts[3..]), body);
            case ["state", ..]:
                return StateAsync(context, verb, parts[1..], body);
            case ["actors", var type, var id, "method", .. var method]:
                return ActorCallAsync(context, type, id, string.Join('/', method), body);
            case ["actors", var type, var id, "state"] when verb is "PUT" or "POST":
                return ActorTransactionAsync(context, type, id, body);
            case ["actors", var type, var id, "state", var key] when verb == "GET":
                return ActorStateAsync(context, type, id, key);
            case ["actors", var type, var id, "reminders", var name]:
                return ReminderAsync(context, verb, type, id, name, body);
            case ["secrets", var store, var name]:
                return SecretAsync(context, store, name);
            case ["configuration", _]:
                var keys = context.Request.Query["key"];
                return context.Response.WriteAsJsonAsync(Plane.Configuration
                    .Where(item => keys.Count == 0 || keys.Contains(item.Key)).ToDictionary(item => item.Key, item => new { value = item.Value }));
            default:
                return ErrorAsync(context, 404, "ERR_NOT_FOUND", "not found");
        }
    }

    private static Dictionary<string, string> Metadata(HttpContext context) => context.Request.Query
        .Where(item => item.Key.StartsWith("metadata.", StringComparison.OrdinalIgnoreCase))
        .ToDictionary(item => item.Key["metadata.".Length..], item => item.Value.ToString());

    private static async Task ErrorAsync(HttpContext context, int status, string code, string message)
    {
        context.Response.StatusCode = status;
        await context.Response.WriteAsJsonAsync(new { errorCode = code, message });
    }

    private async Task InvokeAsync(HttpContext context, string app, string pathAndQuery, string path, byte[] body)
    {
        var targets = Plane.InstancesOf(app);
        if (targets.Count == 0)
        {
            await ErrorAsync(context, 500, "ERR_DIRECT_INVOKE", $"failed to resolve address for '{app}'");
            return;
        }

        var verb = context.Request.Method;
        if (!targets[0].Rules.MayInvoke(sidecar.Options.AppId, sidecar.Rules.TrustDomain, Uri.UnescapeDataString(path), verb))
        {
            await ErrorAsync(
                context, 403, "ERR_DIRECT_INVOKE", $"access control policy has denied access to id: {sidecar.Options.AppId} operation: {path} verb: {verb}");
            return;
        }

        List<KeyValuePair<string, string>> headers =
        [
            .. context.Request.Headers.Where(header => !header.Key.StartsWith("dapr-", StringComparison.OrdinalIgnoreCase))
                .SelectMany(header => header.Value.Select(value => KeyValuePair.Create(header.Key, value ?? ""))),
            KeyValuePair.Create("dapr-caller-app-id", sidecar.Options.AppId),
            KeyValuePair.Create("dapr-callee-app-id", app),
        ];
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                targets = Plane.InstancesOf(app);
                var answer = await targets[attempt % targets.Count].App.SendAsync(
                    new HttpMethod(verb), pathAndQuery, verb is "GET" or "HEAD" ? null : body, headers, context.RequestAborted);
                await CopyAsync(context, answer);
                return;
            }
            catch (Exception error) when (error is HttpRequestException or DivideByZeroException or ObjectDisposedException)
            {
                if (attempt >= Plane.Options.InvokeRetries)
                {
                    await ErrorAsync(context, 500, "ERR_DIRECT_INVOKE", $"failed to invoke, id: {app}, err: connection refused");
                    return;
                }
            }

            await Task.Delay(Plane.Options.RetryPause, context.RequestAborted);
        }
    }

    private static async Task CopyAsync(HttpContext context, AppAnswer answer)
    {
        context.Response.StatusCode = (int)answer.Status;
        foreach (var (name, value) in answer.Headers)
        {
            context.Response.Headers.Append(name, value);
        }

        if (context.Request.Method != "HEAD" && answer.Body.Length > 0)
        {
            context.Response.ContentLength = answer.Body.Length;
            await context.Response.Body.WriteAsync(answer.Body);
        }
    }

    private async Task StateAsync(HttpContext context, string verb, string[] parts, byte[] body)
    {
        if (sidecar.StateStore(parts.ElementAtOrDefault(0) ?? "") is null)
        {
            await ErrorAsync(context, 400, "ERR_STATE_STORE_NOT_FOUND", "state store is not found");
            return;
        }

        switch (parts)
        {
            case [_] when verb is "POST" or "PUT":
                Plane.State.Write([.. JsonNode.Parse(body)!.AsArray().Select(each => WriteOf(each!.AsObject(), delete: false))], transaction: false);
                context.Response.StatusCode = 204;
                return;
            case [_, "transaction"] when verb is "POST" or "PUT":
                Plane.State.Write([.. JsonNode.Parse(body)!["operations"]!.AsArray().Select(each =>
                    WriteOf(each!["request"]!.AsObject(), (string?)each["operation"] == "delete"))], transaction: true);
                context.Response.StatusCode = 204;
                return;
            case [_, var key] when verb == "GET":
                var row = Plane.State.Get(Prefixed(Uri.UnescapeDataString(key)));
                if (row is null)
                {
                    context.Response.StatusCode = 204;
                    return;
                }

                context.Response.Headers.ETag = row.ETag;
                context.Response.ContentType = "application/json";
                await context.Response.Body.WriteAsync(row.Value);
                return;
            case [_, var key] when verb == "DELETE":
                Plane.State.Write([new StateWrite(Prefixed(Uri.UnescapeDataString(key)), null, context.Request.Headers.IfMatch, false, null)], transaction: false);
                context.Response.StatusCode = 204;
                return;
            default:
                await ErrorAsync(context, 405, "ERR_METHOD", "method not allowed");
                return;
        }
    }

    private StateWrite WriteOf(JsonObject item, bool delete) => new(
        Prefixed((string)item["key"]!), delete ? null : JsonSerializer.SerializeToUtf8Bytes(item["value"]), (string?)item["etag"],
        (string?)item["options"]?["concurrency"] == "first-write",
        StateEngine.Lifetime(item["metadata"]?.AsObject().Select(each => KeyValuePair.Create(each.Key, (string)each.Value!)) ?? []));

    private string Prefixed(string key) => $"{sidecar.Options.AppId}||{key}";

    private async Task ActorCallAsync(HttpContext context, string type, string id, string method, byte[] body)
    {
        List<KeyValuePair<string, string>> headers =
        [
            .. context.Request.Headers.Where(header => !header.Key.StartsWith("dapr-", StringComparison.OrdinalIgnoreCase))
                .SelectMany(header => header.Value.Select(value => KeyValuePair.Create(header.Key, value ?? ""))),
            KeyValuePair.Create("dapr-caller-app-id", sidecar.Options.AppId),
        ];
        if (Plane.Outages.Placement)
        {
            await ErrorAsync(context, 500, "ERR_ACTOR_NO_PLACEMENT", "placement is not available");
            return;
        }

        while (Plane.Outages.PlacementHangs)
        {
            await Task.Delay(Plane.Options.ProbeInterval, context.RequestAborted);
        }

        AppAnswer? answer;
        try
        {
            answer = await Plane.Actors.CallAsync(type, id, method, body, headers, context.RequestAborted);
        }
        catch (HttpRequestException error)
        {
            await ErrorAsync(context, 500, "ERR_ACTOR_INVOKE_METHOD", "error invoke actor method: " + error.Message);
            return;
        }

        if (answer is null)
        {
            await ErrorAsync(context, 400, "ERR_ACTOR_NO_ADDRESS", $"did not find address for actor {type}/{id}");
        }
        else if (answer.Status != HttpStatusCode.OK)
        {
            await ErrorAsync(
                context, answer.Status == HttpStatusCode.NotFound ? 404 : 500, "ERR_ACTOR_INVOKE_METHOD",
                $"error invoke actor method: error from actor service: ({(int)answer.Status}) {Encoding.UTF8.GetString(answer.Body)}");
        }
        else
        {
            await CopyAsync(context, answer);
        }
    }

    private async Task<bool> IsOwnActorAsync(HttpContext context, string type)
    {
        if (Plane.Actors.Hosts(sidecar, type))
        {
            return true;
        }

        await ErrorAsync(context, 400, "ERR_ACTOR_INSTANCE_MISSING", $"actor type {type} is not hosted by this app");
        return false;
    }

    private string ActorKey(string type, string id, string key) => $"{sidecar.Options.AppId}||{type}||{id}||{key}";

    private async Task ActorStateAsync(HttpContext context, string type, string id, string key)
    {
        if (!await IsOwnActorAsync(context, type))
        {
            return;
        }

        var row = Plane.State.Get(ActorKey(type, id, Uri.UnescapeDataString(key)));
        if (row is null)
        {
            context.Response.StatusCode = 204;
            return;
        }

        if (row.Expires is { } expires)
        {
            context.Response.Headers["Metadata.ttlExpireTime"] = expires.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", System.Globalization.CultureInfo.InvariantCulture);
        }

        context.Response.ContentType = "application/json";
        await context.Response.Body.WriteAsync(row.Value);
    }

    private async Task ActorTransactionAsync(HttpContext context, string type, string id, byte[] body)
    {
        if (!await IsOwnActorAsync(context, type))
        {
            return;
        }

        Plane.State.Write([.. JsonNode.Parse(body)!.AsArray().Select(each =>
        {
            var request = each!["request"]!.AsObject();
            return new StateWrite(
                ActorKey(type, id, (string)request["key"]!), (string?)each["operation"] == "delete" ? null : JsonSerializer.SerializeToUtf8Bytes(request["value"]), null, false,
                StateEngine.Lifetime(request["metadata"]?.AsObject().Select(item => KeyValuePair.Create(item.Key, (string)item.Value!)) ?? []));
        })], transaction: true);
        context.Response.StatusCode = 204;
    }

    private async Task ReminderAsync(HttpContext context, string verb, string type, string id, string name, byte[] body)
    {
        if (!Plane.Actors.Hosts(sidecar, type) || Leaves())
        {
            await ErrorAsync(context, 403, "ERR_ACTOR_REMINDER_NON_HOSTED", "operation is not allowed for non-hosted actor type");
            return;
        }

        switch (verb)
        {
            case "PUT" or "POST":
                Plane.Actors.Reminders.Put(type, id, name, body.Length == 0 ? null : JsonNode.Parse(body)?.AsObject());
                context.Response.StatusCode = 204;
                return;
            case "DELETE":
                Plane.Actors.Reminders.Delete(type, id, name);
                context.Response.StatusCode = 204;
                return;
            default:
                if (Plane.Actors.Reminders.Get(type, id, name) is not { } reminder)
                {
                    await ErrorAsync(context, 404, "ERR_ACTOR_REMINDER_NOT_FOUND", "actor reminder not found");
                    return;
                }

                await context.Response.WriteAsJsonAsync(new { dueTime = reminder.Due.ToString("O"), period = "", data = reminder.Data is null ? null : JsonNode.Parse(reminder.Data) });
                return;
        }
    }

    private bool Leaves()
    {
        lock (Plane.Outages)
        {
            return Plane.Outages.Leaving > 0 && Plane.Outages.Leaving-- > 0;
        }
    }

    private Task SecretAsync(HttpContext context, string store, string name)
    {
        if (sidecar.SecretStore(store) is not { } found)
        {
            return ErrorAsync(context, 401, "ERR_SECRET_STORE_NOT_FOUND", $"failed finding secret store with key {store}");
        }

        if (!sidecar.Rules.MayReadSecret(store, name))
        {
            return ErrorAsync(context, 403, "ERR_PERMISSION_DENIED", $"access denied by policy to get {name} from {store}");
        }

        return !Plane.Outages.Secrets && found.Find(name) is { } secret
            ? context.Response.WriteAsJsonAsync(secret)
            : ErrorAsync(context, 500, "ERR_SECRET_GET", $"failed getting secret with key {name} from secret store {store}");
    }
}
