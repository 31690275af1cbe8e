using System.Collections.Concurrent;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Identity.Tests.Support;

/// <summary>An approval service that does what the test says; the real one is tested in its own place.</summary>
internal sealed class ScriptedApproval(IServiceProvider services, ITrustedKeys keys)
{
    public ConcurrentDictionary<string, RequestView> Requests { get; } = new();

    public ConcurrentDictionary<string, CreateRequest> Asked { get; } = new();

    public ConcurrentDictionary<string, Func<GrantClaims, GrantClaims>> Twists { get; } = new();

    public ConcurrentQueue<string> Redemptions { get; } = new();

    public bool IsDown { get; set; }

    /// <summary>Refuses whatever is asked.</summary>
    public bool Refuses { get; set; }

    /// <summary>Signs grants; another key than approval's for tests.</summary>
    public SigningKey? Signer { get; set; }

    public void Map(WebApplication app)
    {
        var group = app.MapGroup("/approval/v1/requests").RequireCaller(AppIds.Approval, Callers.Services, AppIds.Identity);
        group.AddEndpointFilter(async (context, next) => IsDown ? Results.StatusCode(503) : await next(context));
        group.MapPost("/", CreateAsync);
        group.MapGet("/{id}", (string id) => Requests.TryGetValue(id, out var view) ? Results.Ok(view) : Results.NotFound());
        group.MapPost("/{id}/redeem", Redeem);
    }

    /// <summary>Somebody approves. Not announced, identity's poll must find out.</summary>
    public async Task ApproveAsync(string request, string approver, bool bootstrap = false, Func<GrantClaims, GrantClaims>? twist = null, bool announce = true)
    {
        Twists[request] = claims => (twist ?? (same => same))(claims with
        {
            Bootstrap = bootstrap,
            Approvers = [new GrantApprover(approver, "somebody", DateTimeOffset.UtcNow.ToUnixTimeSeconds())],
        });
        await ChangeAsync(request, RequestState.Approved, announce);
    }

    public async Task ChangeAsync(string request, RequestState state, bool announce = true)
    {
        Requests[request] = Requests[request] with { State = state };
        if (announce)
        {
            var changed = new RequestChanged($"{request}:2", request, 2, state);
            await services.GetRequiredService<IEventBus>().PublishAsync(
                Topics.Approvals, changed.Id, "countersign.request.changed", JsonSerializer.SerializeToUtf8Bytes(changed, IdentityHost.Json), default);
        }
    }

    private async Task<IResult> CreateAsync(CreateRequest ask)
    {
        if (Refuses)
        {
            return Problems.Result(401, "token-rejected", "the requester is disabled");
        }

        var identity = await keys.GetAsync(AppIds.Identity, default);
        var requester = await identity.VerifyAsync<AccessTokenClaims>(ask.Assertion, TokenTypes.Access, AppIds.Identity, AppIds.Identity, DateTimeOffset.UtcNow);
        var view = new RequestView
        {
            Id = $"apr_{Guid.NewGuid():N}",
            Kind = ask.Kind,
            State = ask.InEffect ? RequestState.Consumed : RequestState.Pending,
            Review = ask.InEffect ? new RequestReview(DateTimeOffset.UtcNow.AddDays(3)) : null,
            Version = 1,
            Digest = ask.Operations[0].Digest,
            Requester = requester.Person,
            RequesterName = requester.Name,
            Connection = "",
            Database = "",
            Operations = ask.Operations,
            Redeemed = 0,
            AllOf = ask.AllOf,
            Decisions = [],
            Rules = ask.Rules,
            Message = ask.Message,
            Reason = ask.Reason,
            Context = ask.Context,
            Transaction = [],
            CreatedAt = DateTimeOffset.UtcNow,
            ExpiresAt = DateTimeOffset.UtcNow.AddDays(1),
            Link = "http://approval/x",
        };
        Requests[view.Id] = view;
        Asked[view.Id] = ask;
        return Results.Ok(new CreateRequestResult(view, false));
    }

    private IResult Redeem(string id, RedeemRequest redeem)
    {
        Redemptions.Enqueue(redeem.RedemptionId);
        var view = Requests[id];
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var grant = Twists[id](new GrantClaims
        {
            Id = "g",
            Issuer = AppIds.Approval,
            Request = id,
            Kind = view.Kind,
            Person = view.Requester,
            Connection = "",
            Digests = [view.Operations[0].Digest],
            AllOf = view.AllOf,
            Approvers = [],
            IssuedAt = now,
            ExpiresAt = now + 600,
        });
        Requests[id] = view with { State = RequestState.Consumed };
        var key = Signer ?? services.GetRequiredKeyedService<SigningKey>(AppIds.Approval);
        return Results.Ok(new { grant = key.Sign(TokenTypes.Grant, grant) });
    }
}
