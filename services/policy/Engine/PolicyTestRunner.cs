using Countersign.Policy.Contracts;
using Countersign.Policy.Language;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Engine;

/// <summary>What became of one example.</summary>
/// <param name="Test">Test document.</param>
/// <param name="Case">Name of the case.</param>
/// <param name="At">Where it stands.</param>
/// <param name="Text">Its text.</param>
/// <param name="Passed">Whether the answer was as expected.</param>
/// <param name="Detail">What was expected and what came; for a failure also why.</param>
public sealed record PolicyTestResult(string Test, string Case, SourcePosition At, string Text, bool Passed, string Detail);

/// <summary>Runs the examples (<c>kind: Test</c>) that live beside policies.</summary>
/// <param name="factsOf">Protocol and text to facts: the proxy's parser. An exception fails the case.</param>
public sealed class PolicyTestRunner(Func<string, string, CancellationToken, ValueTask<OperationFacts>> factsOf)
{
    /// <summary>Runs all examples of a set.</summary>
    /// <param name="set">Decoded and checked documents.</param>
    /// <param name="connections">Registered connections.</param>
    /// <param name="now">Clock of cases that name none.</param>
    /// <param name="cancellation">Cancels the run.</param>
    public async ValueTask<IReadOnlyList<PolicyTestResult>> RunAsync(
        PolicySet set, IReadOnlyList<Connection> connections, DateTimeOffset now, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(set);
        ArgumentNullException.ThrowIfNull(connections);
        var results = new List<PolicyTestResult>();
        var cache = new Dictionary<(string Protocol, string Text), OperationFacts>();
        foreach (var test in set.Tests)
        {
            foreach (var one in test.Cases)
            {
                results.Add(await CaseAsync(test, one, set, connections, now, cache, cancellation).ConfigureAwait(false));
            }
        }

        return results;
    }

    private async ValueTask<PolicyTestResult> CaseAsync(
        TestDocument test, TestCaseSyntax one, PolicySet set, IReadOnlyList<Connection> connections, DateTimeOffset now,
        Dictionary<(string Protocol, string Text), OperationFacts> cache, CancellationToken cancellation)
    {
        PolicyTestResult Result(bool passed, string detail) => new(test.Name.Value, one.Name, one.At, one.Text.Value, passed, detail);
        try
        {
            var connection = one.Connection.Labels is { } labels
                ? MadeUp(one.Connection, labels)
                : connections.FirstOrDefault(item => item.Name == one.Connection.Name.Value);
            if (connection is null)
            {
                return Result(false, $"There is no connection '{one.Connection.Name}'.");
            }

            var key = (connection.Protocol, one.Text.Value);
            if (!cache.TryGetValue(key, out var facts))
            {
                cache[key] = facts = await factsOf(key.Protocol, key.Value, cancellation).ConfigureAwait(false);
            }

            var clock = one.Now ?? now;
            var who = one.Principal;
            var engine = PolicyEngine.Compile(0, set, [connection]);
            var decision = engine.Evaluate(new DecisionInput
            {
                Principal = new PrincipalFacts(who.Person, who.Person, who.Name, who.Kind, who.Groups, who.Acr, who.Amr, clock - who.AuthenticatedAgo),
                Connection = connection.Name,
                Database = one.Database.Length > 0 ? one.Database : connection.Database,
                Facts = facts,
                ClientAddress = one.ClientAddress,
                Now = clock,
            }).Decision;
            return Judge(one, decision) is { } wrong ? Result(false, wrong + Why(decision, facts)) : Result(true, Name(decision.Outcome));
        }
        catch (OperationCanceledException)
        {
            throw;
        }
#pragma warning disable CA1031 // A case that can't be run has failed; the others still say something.
        catch (Exception error)
#pragma warning restore CA1031
        {
            return Result(false, $"Can't be run: {error.Message}");
        }
    }

    private static string? Judge(TestCaseSyntax one, Decision decision)
    {
        if (decision.Outcome != one.Expect)
        {
            return $"Expected {Name(one.Expect)}, got {Name(decision.Outcome)}.";
        }

        var deciding = decision.Rules.Where(hit => !hit.Shadow && hit.Effect == decision.Outcome).Select(hit => $"{hit.Policy}/{hit.Rule}").ToList();
        if (one.Rule is { } rule && !deciding.Contains(rule.Value, StringComparer.Ordinal))
        {
            return $"Expected rule {rule.Value} to decide, but it was {(deciding.Count == 0 ? "none" : string.Join(", ", deciding))}.";
        }

        if (one.Approvers is { } approvers)
        {
            var asked = (decision.Terms?.AllOf ?? []).SelectMany(part => part.AnyOf).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
            if (!asked.SequenceEqual(approvers.Order(StringComparer.Ordinal)))
            {
                return $"Expected the approvers {string.Join(", ", approvers)}, got {string.Join(", ", asked)}.";
            }
        }

        return null;
    }

    private static string Why(Decision decision, OperationFacts facts)
    {
        var rules = decision.Rules.Count == 0 ? "no rule matched" : "rules: " + string.Join(", ", decision.Rules.Select(hit => $"{hit.Policy}/{hit.Rule}"));
        var kinds = string.Join("; ", facts.Statements.Select(statement => string.Join(", ", statement.Kinds)));
        var incomplete = facts.Complete ? "" : $"; incomplete: {string.Join(", ", facts.Incomplete)}";
        return $" ({rules}; statements: {(kinds.Length == 0 ? "none" : kinds)}{incomplete}) {decision.Message} {decision.Hint}".TrimEnd();
    }

    private static string Name(Outcome outcome) => outcome switch
    {
        Outcome.Allow => "allow",
        Outcome.RequireApproval => "require_approval",
        _ => "deny",
    };

    private static Connection MadeUp(TestConnection connection, IReadOnlyDictionary<string, string> labels) => new()
    {
        Name = connection.Name.Value,
        Protocol = connection.Protocol,
        Host = "127.0.0.1",
        Port = 1,
        Database = connection.Name.Value,
        Labels = labels,
    };
}
