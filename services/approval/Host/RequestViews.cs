using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;

namespace Countersign.Approval.Host;

/// <summary>Documents as the REST API shows them.</summary>
internal sealed class RequestViews(PublicAddress address)
{
    /// <summary>A view.</summary>
    /// <param name="document">The request.</param>
    /// <param name="now">The workflow's clock.</param>
    /// <param name="service">App id of the service that is shown it; null for a person. Only the one that asked sees the grant.</param>
    public RequestView Of(RequestDocument document, DateTimeOffset now, string? service)
    {
        var spec = document.Spec;
        var state = State(document.StateAt(now));
        return new RequestView
        {
            Id = spec.Id,
            Kind = Kind(spec.Kind),
            State = state,
            Version = document.Version,
            Digest = spec.Digest,
            Requester = spec.Requester.Person,
            RequesterName = spec.Requester.Name,
            Connection = spec.Connection,
            Database = spec.Database,
            Operations = [.. spec.Operations.Select(operation => new RequestedOperation(operation.Digest, operation.Text, operation.Parameters))],
            Redeemed = document.Redemptions.Count,
            AllOf = AllOf(spec),
            Decisions = [.. document.Votes.Select(vote => new RequestDecision(vote.Person, vote.Name, vote.Approved, vote.At, vote.Comment))],
            Rules = spec.Rules,
            Message = spec.Message,
            Reason = spec.Reason,
            Context = spec.Context,
            Transaction = spec.Transaction,
            CreatedAt = document.CreatedAt,
            ExpiresAt = document.Deadline,
            Grant = state == RequestState.Approved && service is not null && service == spec.AskedBy ? document.Grant : null,
            Link = address.Of(spec.Id),
        };
    }

    public static IReadOnlyList<RequestRequirement> AllOf(RequestSpec spec) =>
        [.. spec.AllOf.Select(requirement => new RequestRequirement(requirement.AnyOf, requirement.Quorum))];

    public static RequestKind Kind(WorkflowKind kind) => kind switch
    {
        WorkflowKind.Operation => RequestKind.Operation,
        WorkflowKind.Bundle => RequestKind.Bundle,
        WorkflowKind.Enrolment => RequestKind.Enrolment,
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "no such kind"),
    };

    public static WorkflowKind Kind(RequestKind kind) => kind switch
    {
        RequestKind.Operation => WorkflowKind.Operation,
        RequestKind.Bundle => WorkflowKind.Bundle,
        RequestKind.Enrolment => WorkflowKind.Enrolment,
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "no such kind"),
    };

    public static RequestState State(WorkflowState state) => state switch
    {
        WorkflowState.Pending => RequestState.Pending,
        WorkflowState.Approved => RequestState.Approved,
        WorkflowState.Denied => RequestState.Denied,
        WorkflowState.Expired => RequestState.Expired,
        WorkflowState.Cancelled => RequestState.Cancelled,
        WorkflowState.Consumed => RequestState.Consumed,
        WorkflowState.Revoked => RequestState.Revoked,
        _ => throw new ArgumentOutOfRangeException(nameof(state), state, "no such state"),
    };
}
