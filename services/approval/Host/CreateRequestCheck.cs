using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Host;

/// <summary>What a request may look like. All problems are listed at once.</summary>
internal static class CreateRequestCheck
{
    public const int MaxOperations = 256;
    public const int MaxTextLength = 1024 * 1024;
    public const int MaxTimeoutSeconds = 7 * 24 * 3600;
    public const int MaxGrantLifetimeSeconds = 24 * 3600;
    private const int MaxNameLength = 200;
    private const int MaxSentenceLength = 4000;
    private const int MaxList = 64;
    private const int MaxSeats = 32;

    /// <summary>Which service may ask for what.</summary>
    private static readonly Dictionary<RequestKind, string> Askers = new()
    {
        [RequestKind.Operation] = AppIds.Proxy,
        [RequestKind.Bundle] = AppIds.Policy,
        [RequestKind.Enrolment] = AppIds.Identity,
    };

    /// <exception cref="ProblemException">400 with all problems, or 403 where the service may not ask for that.</exception>
    public static void Check(CreateRequest request, string service)
    {
        if (!Askers.TryGetValue(request.Kind, out var asker) || asker != service)
        {
            throw new ProblemException(403, "kind-not-allowed", $"The service {service} may not ask for this kind of approval.");
        }

        var errors = new List<string>();
        void Must(bool good, string error)
        {
            if (!good)
            {
                errors.Add(error);
            }
        }

        var control = request.Kind != RequestKind.Operation;
        Must(control ? request.Connection.Length == 0 : request.Connection.Length is > 0 and <= MaxNameLength, "connection: a name for operations, empty for control requests");
        Must(request.Database.Length <= MaxNameLength, "database: too long");
        Must(
            control ? request.Operations.Count == 1 : request.Operations.Count is > 0 and <= MaxOperations,
            $"operations: one for control requests, else 1 to {MaxOperations}");
        Must(request.Operations.All(operation => IsDigest(operation.Digest)), "operations: a digest has 64 lower-case hexadecimal digits");
        Must(
            request.Operations.Sum(operation => (long)operation.Text.Length + operation.Parameters.Sum(parameter => parameter?.Length ?? 0)) <= MaxTextLength,
            $"operations: more than {MaxTextLength} characters in all");
        Must(request.AllOf.Count is > 0 and <= MaxList, $"allOf: 1 to {MaxList} requirements");
        Must(
            request.AllOf.All(each => each.Quorum >= 1 && each.AnyOf.Count is > 0 and <= MaxList && each.AnyOf.All(group => group.Length is > 0 and <= MaxNameLength)),
            "allOf: each names groups and a quorum of at least 1");
        Must(request.AllOf.Sum(each => (long)each.Quorum) <= MaxSeats, $"allOf: more than {MaxSeats} persons in all");
        Must(request.Rules.Count <= MaxList * 4 && request.Rules.All(rule => rule.Length <= MaxNameLength * 2), "rules: too many or too long");
        Must(request.Message.Length <= MaxSentenceLength, "message: too long");
        Must(request.Reason.Length <= MaxSentenceLength, "reason: too long");
        Must(request.Context.Count <= MaxList && request.Context.All(entry => entry.Key.Length <= MaxNameLength && entry.Value.Length <= MaxSentenceLength), "context: too large");
        Must(request.Transaction.Count <= 1000 && request.Transaction.Sum(text => (long)text.Length) <= MaxTextLength, "transaction: too large");
        Must(request.TimeoutSeconds is > 0 and <= MaxTimeoutSeconds, $"timeoutSeconds: 1 to {MaxTimeoutSeconds}");
        Must(request.GrantLifetimeSeconds is > 0 and <= MaxGrantLifetimeSeconds, $"grantLifetimeSeconds: 1 to {MaxGrantLifetimeSeconds}");
        if (errors.Count > 0)
        {
            throw new ProblemException(400, RefusalCodes.Invalid, string.Join("; ", errors));
        }
    }

    /// <summary>Whether this is an operation digest.</summary>
    public static bool IsDigest(string? digest) => digest is { Length: 64 } && digest.All(char.IsAsciiHexDigitLower);

    /// <summary>The request as the workflow keeps it; who asks is filled in by the workflow from the evidence.</summary>
    public static RequestSpec Spec(CreateRequest request, string service, string id) => new()
    {
        Id = id,
        Kind = RequestViews.Kind(request.Kind),
        AskedBy = service,
        Requester = new SpecRequester("", "", []),
        Connection = request.Connection,
        Database = request.Database,
        Operations = [.. request.Operations.Select(operation => new SpecOperation(operation.Digest, operation.Text, operation.Parameters))],
        Digest = RequestDigest.Compute([.. request.Operations.Select(operation => operation.Digest)]),
        AllOf = [.. request.AllOf.Select(each => new SpecRequirement([.. each.AnyOf.Distinct(StringComparer.Ordinal)], each.Quorum))],
        Rules = request.Rules,
        Message = request.Message,
        Reason = request.Reason.Trim(),
        ReasonRequired = request.ReasonRequired,
        BundleVersion = request.BundleVersion,
        Context = request.Context,
        Transaction = request.Transaction,
        Timeout = TimeSpan.FromSeconds(request.TimeoutSeconds),
        GrantLifetime = TimeSpan.FromSeconds(request.GrantLifetimeSeconds),
    };
}
