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
    /// <param name="earlier">Earlier requests of the same person, a line each.</param>
    /// <param name="judges">
    /// Whether it is shown to a person who judges it: enrolled, and not the requester in any guise. Only they see what was found out about the target's data. It
    /// was found before anybody agreed, and so would be a way to read by asking: rows of a dry run, their number, and errors that depend on them.
    /// </param>
    public RequestView Of(RequestDocument document, DateTimeOffset now, string? service, IReadOnlyList<string>? earlier = null, bool judges = false)
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
            Grant = (state == RequestState.Approved || spec.InEffect) && service is not null && service == spec.AskedBy ? document.Grant : null,
            Link = address.Of(spec.Id),
            Assurance = Assurance(spec),
            Window = Window(spec),
            WindowBeganAt = document.WindowBeganAt,
            Impact = spec.Impact is { } impact ? Impact(impact, judges && service is null) : null,
            BreakGlassAllowed = spec.BreakGlassAllowed,
            BreakGlass = document.BreakGlass is not null,
            Review = document.Review is { } review
                ? new RequestReview(review.DueAt, review.ClosedBy, review.ClosedByName, review.ClosedAt, review.Justified, review.Comment ?? "")
                : null,
            Revocation = document.Revocation is { } revoked ? new RequestRevocation(revoked.Person, revoked.Name, revoked.At, revoked.Comment) : null,
            Earlier = earlier ?? [],
            Extends = spec.Extends,
        };
    }

    /// <summary>What is told of an impact: of the text alone to everybody, of the target only to who judges.</summary>
    private static RequestImpact Impact(SpecImpact impact, bool whole) => whole
        ? new RequestImpact(
            impact.Relations, impact.EstimatedRows, impact.Notes, impact.DryRun is { } run ? new DryRunResult(run.Rows, run.Columns, run.Before, run.After) : null)
        : new RequestImpact(impact.Relations, null, [], null);

    public static IReadOnlyList<RequestRequirement> AllOf(RequestSpec spec) =>
        [.. spec.AllOf.Select(requirement => new RequestRequirement(requirement.AnyOf, requirement.Quorum))];

    /// <summary>How an approver must have logged in; null for any login.</summary>
    public static RequestAssurance? Assurance(RequestSpec spec) =>
        spec.Assurance is { } assurance ? new RequestAssurance((int?)assurance.MaxAge?.TotalSeconds, assurance.Amr) : null;

    /// <summary>The access window, or null.</summary>
    public static AccessWindow? Window(RequestSpec spec) =>
        spec.Window is { } window ? new AccessWindow((int)window.Length.TotalSeconds, window.Statements, window.Relations) : null;

    /// <summary>Whether a kind changes what is enforced.</summary>
    public static bool IsControl(RequestKind kind) => kind is not (RequestKind.Operation or RequestKind.AccessWindow);

    public static RequestKind Kind(WorkflowKind kind) => kind switch
    {
        WorkflowKind.Operation => RequestKind.Operation,
        WorkflowKind.Bundle => RequestKind.Bundle,
        WorkflowKind.Enrolment => RequestKind.Enrolment,
        WorkflowKind.AccessWindow => RequestKind.AccessWindow,
        WorkflowKind.IdentityLink => RequestKind.IdentityLink,
        WorkflowKind.Key => RequestKind.Key,
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "no such kind"),
    };

    public static WorkflowKind Kind(RequestKind kind) => kind switch
    {
        RequestKind.Operation => WorkflowKind.Operation,
        RequestKind.Bundle => WorkflowKind.Bundle,
        RequestKind.Enrolment => WorkflowKind.Enrolment,
        RequestKind.AccessWindow => WorkflowKind.AccessWindow,
        RequestKind.IdentityLink => WorkflowKind.IdentityLink,
        RequestKind.Key => WorkflowKind.Key,
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
