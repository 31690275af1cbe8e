using Countersign.Policy.Contracts;

namespace Countersign.Cli.Server;

/// <summary><c>POST /policy/v1/changes</c>: what should be enforced instead.</summary>
internal sealed record ChangeRequest(
    IReadOnlyList<BundleDocument> Documents, IReadOnlyList<string> RemovedDocuments, IReadOnlyList<Connection> Connections,
    IReadOnlyList<string> RemovedConnections, string Reason);

/// <summary>A change that waits for a second person: of policy, of connections, or of who is enrolled.</summary>
/// <param name="RequestId">Approval request.</param>
/// <param name="Digest">What an approver agrees to.</param>
/// <param name="Version">Bundle version it will have; null where it is not about a bundle.</param>
/// <param name="Diff">The readable change, of policy.</param>
/// <param name="Text">The readable change, of persons.</param>
/// <param name="Link">Page of the request.</param>
internal sealed record ChangeView(string RequestId, string? Digest, long? Version, string? Diff, string? Text, string? Link);

/// <summary><c>POST /policy/v1/check</c> and <c>/test</c>.</summary>
internal sealed record DocumentsRequest(IReadOnlyList<BundleDocument> Documents);

/// <summary>Answer to check: everything that is wrong.</summary>
internal sealed record CheckResult(IReadOnlyList<CheckError> Errors);

/// <summary>One thing that is wrong.</summary>
internal sealed record CheckError(string? Document, int Line, int Column, string? Code, string Message);

/// <summary>Answer to test.</summary>
internal sealed record TestResult(IReadOnlyList<TestCase> Tests);

/// <summary>One example of a policy, and how it came out.</summary>
internal sealed record TestCase(string? Document, string Name, bool Passed, string? Message);

/// <summary><c>POST /policy/v1/explain</c>.</summary>
internal sealed record ExplainStatement(string Connection, string? Database, string Text);
