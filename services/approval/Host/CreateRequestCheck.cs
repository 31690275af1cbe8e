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
    public const int MaxWindowSeconds = 24 * 3600;
    private const int MaxSample = 100;
    private const int MaxSampleLength = 256 * 1024;
    private const int MaxNameLength = 200;
    private const int MaxSentenceLength = 4000;
    private const int MaxList = 64;
    private const int MaxSeats = 32;

    /// <summary>Which service may ask for what.</summary>
    private static readonly Dictionary<RequestKind, string[]> Askers = new()
    {
        [RequestKind.Operation] = [AppIds.Proxy],
        [RequestKind.Bundle] = [AppIds.Policy],
        [RequestKind.Enrolment] = [AppIds.Identity],
        [RequestKind.AccessWindow] = [AppIds.Proxy],
        [RequestKind.IdentityLink] = [AppIds.Identity],
        [RequestKind.Key] = [AppIds.Policy, AppIds.Identity],
    };

    /// <exception cref="ProblemException">400 with all problems, or 403 where the service may not ask for that.</exception>
    public static void Check(CreateRequest request, string service)
    {
        if (!Askers.TryGetValue(request.Kind, out var askers) || !askers.Contains(service, StringComparer.Ordinal))
        {
            throw new ProblemException(403, "kind-not-allowed", $"The service {service} may not ask for this kind of approval.");
        }

        if (!IsWhole(request))
        {
            throw new ProblemException(400, RefusalCodes.Invalid, "Something that must be there is null.");
        }

        var errors = new List<string>();
        void Must(bool good, string error)
        {
            if (!good)
            {
                errors.Add(error);
            }
        }

        var control = RequestViews.IsControl(request.Kind);
        var window = request.Kind == RequestKind.AccessWindow;
        Must(control ? request.Connection.Length == 0 : request.Connection.Length is > 0 and <= MaxNameLength, "connection: a name for operations, empty for control requests");
        Must(request.Database.Length <= MaxNameLength, "database: too long");
        Must(
            control || window ? request.Operations.Count == 1 : request.Operations.Count is > 0 and <= MaxOperations,
            $"operations: one for control requests and access windows, else 1 to {MaxOperations}");
        Must(window == request.Window is not null, "window: exactly for an access window");
        if (request.Window is { } asked)
        {
            Must(asked.Seconds is > 0 and <= MaxWindowSeconds, $"window.seconds: 1 to {MaxWindowSeconds}");
            Must(IsScope(asked.Statements, MaxList), $"window.statements: 1 to {MaxList} command tags");
            Must(IsScope(asked.Relations, MaxOperations) && asked.Relations.All(name => name.Contains('.', StringComparison.Ordinal)), $"window.relations: 1 to {MaxOperations} as schema.name");
        }

        Must(request.Assurance is not { } assurance || IsAssurance(assurance), "assurance: a max_age of at least 1 s, and names of methods");
        Must(!request.BreakGlassAllowed || request.Kind == RequestKind.Operation, "breakGlassAllowed: for operations only");
        Must(!request.InEffect || control, "inEffect: for control requests only");
        Must(request.Extends is null || (!control && RequestService.IsId(request.Extends) && !request.InEffect && !request.BreakGlassAllowed), "extends: the id of an approved request for operations or an access window");
        Must(request.Impact is not { } impact || IsImpact(impact), "impact: too large");
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

    // JSON can say null where the contract doesn't.
    private static bool IsWhole(CreateRequest request) =>
        request is { Assertion: not null, Connection: not null, Database: not null, Message: not null, Reason: not null, Context: not null, Operations: not null, AllOf: not null }
        && request is { Rules: not null, Transaction: not null, Window: null or { Statements: not null, Relations: not null }, Assurance: null or { Amr: not null } }
        && request.Operations.All(operation => operation is { Digest: not null, Text: not null, Parameters: not null })
        && request.AllOf.All(each => each is { AnyOf: not null } && each.AnyOf.All(group => group is not null))
        && request.Rules.All(rule => rule is not null) && request.Transaction.All(text => text is not null) && request.Context.All(entry => entry.Value is not null)
        && (request.Window is null || (request.Window.Statements.All(name => name is not null) && request.Window.Relations.All(name => name is not null)))
        && (request.Assurance is null || request.Assurance.Amr.All(method => method is not null))
        && (request.Impact is not { } impact
            || (impact is { Relations: not null, Notes: not null, DryRun: null or { Columns: not null, Before: not null, After: not null } }
                && impact.Relations.All(text => text is not null) && impact.Notes.All(text => text is not null)
                && (impact.DryRun is not { } run
                    || (run.Columns.All(name => name is not null) && run.Before.All(row => row is not null) && run.After.All(row => row is not null)))));

    private static bool IsScope(IReadOnlyList<string> names, int most) =>
        names.Count > 0 && names.Count <= most && names.All(name => name.Length is > 0 and <= MaxNameLength) && names.Distinct(StringComparer.Ordinal).Count() == names.Count;

    private static bool IsAssurance(RequestAssurance assurance) =>
        assurance.MaxAgeSeconds is null or > 0 && assurance.Amr.Count <= MaxList && assurance.Amr.All(method => method.Length is > 0 and <= 64);

    private static bool IsImpact(RequestImpact impact) =>
        impact.Relations.Count <= MaxOperations && impact.Relations.All(text => text.Length <= MaxNameLength * 2)
        && impact.Notes.Count <= MaxList && impact.Notes.All(text => text.Length <= MaxSentenceLength)
        && (impact.DryRun is not { } run
            || (run.Columns.Count <= MaxOperations && run.Before.Count <= MaxSample && run.After.Count <= MaxSample
                && run.Columns.Sum(text => (long)text.Length) + Length(run.Before) + Length(run.After) <= MaxSampleLength));

    private static long Length(IReadOnlyList<IReadOnlyList<string?>> rows) => rows.Sum(row => row.Sum(value => (long)(value?.Length ?? 0)) + row.Count);

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
        Assurance = request.Assurance is { } assurance && (assurance.MaxAgeSeconds is not null || assurance.Amr.Count > 0)
            ? new SpecAssurance(
                assurance.MaxAgeSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
                [.. assurance.Amr.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)])
            : null,
        Window = request.Window is { } window
            ? new SpecWindow(
                TimeSpan.FromSeconds(window.Seconds), [.. window.Statements.Order(StringComparer.Ordinal)], [.. window.Relations.Order(StringComparer.Ordinal)])
            : null,
        BreakGlassAllowed = request.BreakGlassAllowed,
        Impact = request.Impact is { } impact
            ? new SpecImpact(
                impact.Relations, impact.EstimatedRows, impact.Notes,
                impact.DryRun is { } run ? new SpecDryRun(run.Rows, run.Columns, run.Before, run.After) : null)
            : null,
        InEffect = request.InEffect,
        Extends = request.Extends,
    };
}
