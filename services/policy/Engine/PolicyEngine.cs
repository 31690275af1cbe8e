using System.Collections.Frozen;
using Countersign.Policy.Contracts;
using Countersign.Policy.Engine.Conditions;
using Countersign.Policy.Language;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Engine;

/// <summary>An answer, and whether it may be kept.</summary>
/// <param name="Decision">The answer.</param>
/// <param name="Cacheable">
/// False where it depends on more than principal, connection, facts and bundle (the time, the client's address, the age of the login, an error):
/// then the next operation must be evaluated anew.
/// </param>
public sealed record EvaluationResult(Decision Decision, bool Cacheable);

/// <summary>
/// A bundle, compiled once, and decided with many times (docs/policies/semantics.md). Immutable and safe for concurrent use: a new bundle is
/// a new engine. Nothing here does I/O.
/// </summary>
public sealed class PolicyEngine
{
    private static readonly StatementFacts NoStatement = new() { Kinds = [] };
    private readonly FrozenDictionary<string, ConnectionRules> _connections;

    private PolicyEngine(long version, PolicySet documents, IReadOnlyList<Connection> connections)
    {
        Version = version;
        Documents = documents;
        var rules = documents.Policies
            .SelectMany(policy => policy.Rules.Select(rule => new CompiledRule(policy.Name.Value, rule)))
            .OrderBy(rule => rule.Policy, StringComparer.Ordinal).ThenBy(rule => rule.Name, StringComparer.Ordinal)
            .ToList();
        _connections = connections.ToFrozenDictionary(
            connection => connection.Name,
            connection => new ConnectionRules(
                connection,
                [.. rules.Where(rule => ConnectionMatch.Matches(rule.Syntax.When.Connections, connection.Name, connection.Labels))],
                new MaskRules(documents.MaskSets, connection)),
            StringComparer.Ordinal);
    }

    /// <summary>Version of the bundle.</summary>
    public long Version { get; }

    /// <summary>The decoded documents.</summary>
    public PolicySet Documents { get; }

    /// <summary>Compiles a bundle.</summary>
    /// <exception cref="PolicyFormatException">Its documents don't decode. It must not be put into force.</exception>
    public static PolicyEngine Compile(Bundle bundle)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        return new PolicyEngine(bundle.Version, PolicyDecoder.Decode(bundle.Documents), bundle.Connections);
    }

    /// <summary>Compiles documents that were decoded already.</summary>
    public static PolicyEngine Compile(long version, PolicySet documents, IReadOnlyList<Connection> connections)
    {
        ArgumentNullException.ThrowIfNull(documents);
        ArgumentNullException.ThrowIfNull(connections);
        return new PolicyEngine(version, documents, connections);
    }

    /// <summary>Decides. Never throws: what goes wrong is a deny that says so.</summary>
    public EvaluationResult Evaluate(DecisionInput input)
    {
        ArgumentNullException.ThrowIfNull(input);
        try
        {
            return _connections.TryGetValue(input.Connection, out var connection)
                ? new Evaluation(this, connection, input).Run()
                : new EvaluationResult(
                    Refused($"There is no connection '{input.Connection}' in the policy bundle.", "Ask for it to be registered: countersign connections."), Cacheable: true);
        }
#pragma warning disable CA1031 // I4: an error while deciding is a deny, whatever the error.
        catch (Exception error)
#pragma warning restore CA1031
        {
            return new EvaluationResult(Refused($"The decision failed and so the operation is denied: {error.Message}", "Tell the owners of the policies."), Cacheable: false);
        }
    }

    /// <summary>Says why an operation gets what it gets, and the smallest change that would let it pass.</summary>
    public Explanation Explain(DecisionInput input)
    {
        ArgumentNullException.ThrowIfNull(input);
        var decision = Evaluate(input).Decision;
        return _connections.TryGetValue(input.Connection, out var connection)
            ? new Explainer(this, connection).Explain(input, decision)
            : new Explanation(decision, [], [decision.Hint]);
    }

    /// <summary>The statements of an operation as they are decided, each with its index; text without statements is one with index -1.</summary>
    internal static IReadOnlyList<(StatementFacts Statement, int Index)> Statements(OperationFacts facts) =>
        facts.Statements.Count == 0 ? [(NoStatement, -1)] : [.. facts.Statements.Select((statement, index) => (statement, index))];

    /// <summary>Whether only conditions on the operation count: text that is understood and has no statement can do nothing.</summary>
    internal static bool IsEmpty(OperationFacts facts) => facts.Statements.Count == 0 && facts.Complete;

    internal Decision Refused(string message, string hint) => new() { Outcome = Outcome.Deny, BundleVersion = Version, Message = message, Hint = hint };
}

/// <summary>What applies to one connection.</summary>
internal sealed record ConnectionRules(Connection Connection, CompiledRule[] Rules, MaskRules Masks);
