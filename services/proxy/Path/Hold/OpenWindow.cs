using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Path.Hold;

/// <summary>
/// Proof that the grant of an access window was verified by this proxy and redeemed, which started its clock. Lives in one session's memory only. Made
/// only by <see cref="GrantVerifier"/>.
/// </summary>
public sealed class OpenWindow
{
    private readonly HashSet<string> _statements;
    private readonly HashSet<string> _relations;

    internal OpenWindow(GrantClaims claims, string digest, DateTimeOffset ends, DateTimeOffset now)
    {
        Claims = claims;
        Digest = digest;
        Ends = ends;
        ConfirmedAt = now;
        _statements = [.. claims.Window!.Statements];
        _relations = [.. claims.Window.Relations];
    }

    /// <summary>The verified claims.</summary>
    public GrantClaims Claims { get; }

    /// <summary>Digest of the window.</summary>
    public string Digest { get; }

    /// <summary>When it ends, by the workflow's clock.</summary>
    public DateTimeOffset Ends { get; }

    /// <summary>When approval last said that it holds.</summary>
    internal DateTimeOffset ConfirmedAt { get; set; }

    /// <summary>Whether an operation lies in the scope that was approved. What wasn't understood completely, or names a relation without its schema, never does.</summary>
    public bool Covers(OperationFacts facts)
    {
        ArgumentNullException.ThrowIfNull(facts);
        return Covers(facts, _statements, _relations);
    }

    /// <summary>Whether an operation would lie in a window.</summary>
    public static bool Covers(AccessWindow window, OperationFacts facts)
    {
        ArgumentNullException.ThrowIfNull(window);
        ArgumentNullException.ThrowIfNull(facts);
        return Covers(facts, [.. window.Statements], [.. window.Relations]);
    }

    private static bool Covers(OperationFacts facts, HashSet<string> statements, HashSet<string> relations)
    {
        if (!facts.Complete || facts.Statements.Count == 0)
        {
            return false;
        }

        foreach (var statement in facts.Statements)
        {
            // A function may read and write anything: what isn't known to be pure isn't in any scope. Nor are settings, which would change what names mean.
            if (statement.Kinds.Count == 0 || !statement.Kinds.All(statements.Contains) || statement.Relations.Count == 0
                || statement.ImpureFunctions.Count > 0 || statement.Settings.Count > 0
                || !statement.Relations.All(use => use.Name.Schema is { Length: > 0 } && relations.Contains(use.Name.ToString())))
            {
                return false;
            }
        }

        return true;
    }
}
