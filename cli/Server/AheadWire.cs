using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Cli.Server;

/// <summary><c>POST /proxy/v1/requests</c>: asks for an approval before anything is run.</summary>
/// <param name="Connection">Connection.</param>
/// <param name="Database">Database, or null.</param>
/// <param name="Script">A file as psql would run it, or null.</param>
/// <param name="Text">One operation, or null.</param>
/// <param name="Window">An access window, or null.</param>
/// <param name="Reason">For the approvers.</param>
/// <param name="Extends">Approved request whose time is to be extended, or null.</param>
internal sealed record AheadRequest(string Connection, string? Database, string? Script, string? Text, AccessWindow? Window, string Reason, string? Extends);

/// <summary>What the policy says to one statement.</summary>
internal sealed record AheadStatement(int Number, string Text, Outcome Decision, IReadOnlyList<string> Rules, string? Digest);

/// <summary>Answer to <see cref="AheadRequest"/>.</summary>
internal sealed record AheadAnswer(bool Needed, RequestView? Request, bool Attached, IReadOnlyList<AheadStatement> Statements);
