using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;
using Countersign.Policy.Language;

namespace Countersign.Policy.Tests;

/// <summary>Inputs that tests change one thing of.</summary>
internal static class Given
{
    internal static readonly DateTimeOffset Now = new(2026, 5, 4, 10, 0, 0, TimeSpan.Zero); // a Monday

    internal static Connection Connection(string name = "shop", params (string Name, string Value)[] labels) => new()
    {
        Name = name,
        Protocol = "postgres",
        Host = "127.0.0.1",
        Port = 5432,
        Database = name,
        Labels = labels.ToDictionary(label => label.Name, label => label.Value),
    };

    internal static PrincipalFacts Principal(params string[] groups) =>
        new("prn_alice", "per_alice", "alice@example.com", "human", groups, null, ["pwd"], Now.AddMinutes(-5));

    internal static StatementFacts Statement(params string[] kinds) => new() { Kinds = kinds };

    internal static StatementFacts Reading(this StatementFacts statement, params string[] relations) => statement with
    {
        Relations = [.. statement.Relations, .. relations.Select(name => new RelationUse(Name(name), RelationAccess.Read))],
    };

    internal static StatementFacts Writing(this StatementFacts statement, params string[] relations) => statement with
    {
        Relations = [.. statement.Relations, .. relations.Select(name => new RelationUse(Name(name), RelationAccess.Update))],
    };

    internal static StatementFacts Calling(this StatementFacts statement, params string[] functions) => statement with { Functions = [.. functions.Select(Name)] };

    internal static OperationFacts Facts(params StatementFacts[] statements) => new() { Protocol = "postgres", Grammar = "by hand", Statements = statements };

    internal static OperationFacts Incomplete(params StatementFacts[] statements) => Facts(statements) with { Incomplete = ["dynamic-sql"] };

    internal static DecisionInput Input(OperationFacts facts, params string[] groups) => new()
    {
        Principal = Principal(groups.Length == 0 ? ["engineers"] : groups),
        Connection = "shop",
        Database = "shop",
        Facts = facts,
        ClientAddress = "10.1.2.3",
        Now = Now,
    };

    internal static DecisionInput Input(params StatementFacts[] statements) => Input(Facts(statements));

    internal static PolicyEngine Engine(string yaml, params Connection[] connections) =>
        PolicyEngine.Compile(new Bundle { Version = 7, CreatedAt = Now, Documents = [new BundleDocument("p.yaml", yaml)], Connections = connections.Length == 0 ? [Connection()] : connections });

    /// <summary>A policy out of rules written in short: only what matters in a test stands in it.</summary>
    internal static string Policy(string rules, string name = "p") => $"apiVersion: countersign/v1\nkind: Policy\nname: {name}\nrules:\n{rules}";

    internal static Decision Decide(string rules, DecisionInput input) => Engine(Policy(rules)).Evaluate(input).Decision;

    internal static IReadOnlyList<PolicyDiagnostic> Check(string yaml, params Connection[] connections) =>
        PolicyChecker.Check([new BundleDocument("p.yaml", yaml)], new CheckContext(connections.Length == 0 ? null : connections), out _);

    private static ObjectName Name(string name) => name.Split('.') is [var schema, var last] ? new ObjectName(schema, last) : new ObjectName(null, name);
}
