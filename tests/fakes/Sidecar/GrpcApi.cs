using System.Text.Json;
using Dapr.Client.Autogen.Grpc.v1;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.AspNetCore.Server.Model;
using Grpc.Core;

namespace Countersign.Fakes.Sidecar;

/// <summary>Binds the methods by hand: the package has the messages of the runtime's service, but no server base.</summary>
internal sealed class GrpcMethods : IServiceMethodProvider<GrpcApi>
{
    private const string Service = "dapr.proto.runtime.v1.Dapr";

    public void OnServiceMethodDiscovery(ServiceMethodProviderContext<GrpcApi> context)
    {
        Add(context, "PublishEvent", PublishEventRequest.Parser, Empty.Parser, (api, request) => api.PublishEvent(request));
        Add(context, "BulkPublishEvent", BulkPublishRequest.Parser, BulkPublishResponse.Parser, (api, request) => api.BulkPublishEvent(request));
        Add(context, "BulkPublishEventAlpha1", BulkPublishRequest.Parser, BulkPublishResponse.Parser, (api, request) => api.BulkPublishEvent(request));
        Add(context, "GetState", GetStateRequest.Parser, GetStateResponse.Parser, (api, request) => api.GetState(request));
        Add(context, "GetBulkState", GetBulkStateRequest.Parser, GetBulkStateResponse.Parser, (api, request) => api.GetBulkState(request));
        Add(context, "SaveState", SaveStateRequest.Parser, Empty.Parser, (api, request) => api.SaveState(request));
        Add(context, "DeleteState", DeleteStateRequest.Parser, Empty.Parser, (api, request) => api.DeleteState(request));
        Add(context, "ExecuteStateTransaction", ExecuteStateTransactionRequest.Parser, Empty.Parser, (api, request) => api.Transact(request));
        Add(context, "GetSecret", GetSecretRequest.Parser, GetSecretResponse.Parser, (api, request) => api.GetSecret(request));
        Add(context, "GetConfiguration", GetConfigurationRequest.Parser, GetConfigurationResponse.Parser, (api, request) => api.GetConfiguration(request));
        Add(context, "GetMetadata", GetMetadataRequest.Parser, GetMetadataResponse.Parser, (api, _) => new GetMetadataResponse { Id = api.AppId });
    }

    private static void Add<TRequest, TResponse>(
        ServiceMethodProviderContext<GrpcApi> context, string name, MessageParser<TRequest> request, MessageParser<TResponse> response,
        Func<GrpcApi, TRequest, TResponse> handle)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>
    {
        var method = new Method<TRequest, TResponse>(
            MethodType.Unary, Service, name, Marshallers.Create(message => message.ToByteArray(), request.ParseFrom),
            Marshallers.Create(message => message.ToByteArray(), response.ParseFrom));
        context.AddUnaryMethod(method, [], (api, message, call) => Task.FromResult(api.Guarded(name, call, () => handle(api, message))));
    }
}

/// <summary>The gRPC API of a sidecar, as far as SDKs use it.</summary>
internal sealed class GrpcApi(Sidecar sidecar)
{
    public string AppId => sidecar.Options.AppId;

    private Plane Plane => sidecar.Plane;

    public T Guarded<T>(string method, ServerCallContext call, Func<T> handle)
    {
        if (!HttpApi.TokenIsGood(sidecar.Options.ApiToken, call.RequestHeaders.GetValue("dapr-api-token")))
        {
            throw new RpcException(new Status(StatusCode.Unauthenticated, "invalid api token"));
        }

        if (!sidecar.Rules.Serves(Group(method), "grpc"))
        {
            throw new RpcException(new Status(StatusCode.Unimplemented, "requested endpoint is not available"));
        }

        try
        {
            return handle();
        }
        catch (StateException error)
        {
            throw new RpcException(new Status(
                error.Failure switch
                {
                    StateFailure.Mismatch => StatusCode.Aborted,
                    StateFailure.BadETag => StatusCode.InvalidArgument,
                    _ => StatusCode.Internal,
                },
                error.Message));
        }
        catch (NotFoundException error)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, error.Message));
        }
        catch (ForbiddenException error)
        {
            throw new RpcException(new Status(StatusCode.PermissionDenied, error.Message));
        }
        catch (JsonException error)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, error.Message));
        }
        catch (IOException error)
        {
            throw new RpcException(new Status(StatusCode.Internal, error.Message));
        }
    }

    public Empty PublishEvent(PublishEventRequest request)
    {
        sidecar.Publish(request.PubsubName, request.Topic, request.Data.ToByteArray(), request.DataContentType, request.Metadata);
        return new Empty();
    }

    public BulkPublishResponse BulkPublishEvent(BulkPublishRequest request)
    {
        var response = new BulkPublishResponse();
        foreach (var entry in request.Entries)
        {
            try
            {
                sidecar.Publish(request.PubsubName, request.Topic, entry.Event.ToByteArray(), entry.ContentType, entry.Metadata);
            }
            catch (JsonException error)
            {
                response.FailedEntries.Add(new BulkPublishResponseFailedEntry { EntryId = entry.EntryId, Error = error.Message });
            }
        }

        return response;
    }

    public GetStateResponse GetState(GetStateRequest request)
    {
        CheckStore(request.StoreName);
        return Plane.State.Get(Prefixed(request.Key)) is { } row
            ? new GetStateResponse { Data = ByteString.CopyFrom(row.Value), Etag = row.ETag }
            : new GetStateResponse();
    }

    public GetBulkStateResponse GetBulkState(GetBulkStateRequest request)
    {
        CheckStore(request.StoreName);
        var response = new GetBulkStateResponse();
        foreach (var key in request.Keys)
        {
            var row = Plane.State.Get(Prefixed(key));
            response.Items.Add(new BulkStateItem { Key = key, Data = row is null ? ByteString.Empty : ByteString.CopyFrom(row.Value), Etag = row?.ETag ?? "" });
        }

        return response;
    }

    public Empty SaveState(SaveStateRequest request)
    {
        CheckStore(request.StoreName);
        Plane.State.Write([.. request.States.Select(item => WriteOf(item, delete: false))], transaction: false);
        return new Empty();
    }

    public Empty DeleteState(DeleteStateRequest request)
    {
        CheckStore(request.StoreName);
        Plane.State.Write([new StateWrite(Prefixed(request.Key), null, request.Etag?.Value, false, null)], transaction: false);
        return new Empty();
    }

    public Empty Transact(ExecuteStateTransactionRequest request)
    {
        CheckStore(request.StoreName);
        Plane.State.Write([.. request.Operations.Select(each => WriteOf(each.Request, each.OperationType == "delete"))], transaction: true);
        return new Empty();
    }

    public GetSecretResponse GetSecret(GetSecretRequest request)
    {
        if (sidecar.SecretStore(request.StoreName) is not { } store)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, $"failed finding secret store with key {request.StoreName}"));
        }

        if (!sidecar.Rules.MayReadSecret(request.StoreName, request.Key))
        {
            throw new RpcException(new Status(StatusCode.PermissionDenied, $"access denied by policy to get {request.Key} from {request.StoreName}"));
        }

        // That there is none and that it can't be read is the same answer, as it is in 1.18.
        return !Plane.Outages.Secrets && store.Find(request.Key) is { } secret
            ? new GetSecretResponse { Data = { secret.ToDictionary() } }
            : throw new RpcException(new Status(StatusCode.Internal, $"failed getting secret with key {request.Key} from secret store {request.StoreName}"));
    }

    public GetConfigurationResponse GetConfiguration(GetConfigurationRequest request)
    {
        var response = new GetConfigurationResponse();
        foreach (var (key, value) in Plane.Configuration.Where(item => request.Keys.Count == 0 || request.Keys.Contains(item.Key)))
        {
            response.Items.Add(key, new ConfigurationItem { Value = value });
        }

        return response;
    }

    // Names of the allow-list's groups.
    private static string Group(string method) => method switch
    {
        "PublishEvent" => "publish",
        "BulkPublishEvent" or "BulkPublishEventAlpha1" => "publish",
        "GetSecret" => "secrets",
        "GetConfiguration" => "configuration",
        "GetMetadata" => "metadata",
        _ => "state",
    };

    private void CheckStore(string name)
    {
        if (sidecar.StateStore(name) is null)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, $"state store {name} is not found"));
        }
    }

    private StateWrite WriteOf(StateItem item, bool delete) => new(
        Prefixed(item.Key), delete ? null : item.Value.ToByteArray(), item.Etag?.Value,
        item.Options?.Concurrency == StateOptions.Types.StateConcurrency.ConcurrencyFirstWrite, StateEngine.Lifetime(item.Metadata));

    private string Prefixed(string key) => $"{sidecar.Options.AppId}||{key}";
}
