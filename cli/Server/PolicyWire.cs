namespace Countersign.Cli.Server;

/// <summary>Answer to whatever asks for a change of persons: it waits for a second person.</summary>
/// <param name="RequestId">Approval request.</param>
/// <param name="Digest">Digest of the change document.</param>
/// <param name="Text">The readable change.</param>
/// <param name="Link">Page of the request.</param>
internal sealed record PersonChange(string RequestId, string Digest, string Text, string Link);

/// <summary><c>POST /policy/v1/explain</c>.</summary>
internal sealed record ExplainStatement(string Connection, string? Database, string Text);
