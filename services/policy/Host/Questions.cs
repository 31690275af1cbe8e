using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;
using Countersign.Policy.Language;

namespace Countersign.Policy.Host;

/// <summary>What people ask without changing anything: check, test, explain.</summary>
internal sealed class Questions(PolicyState state, ServiceCalls services, TimeProvider clock)
{
    private const int MaxText = 200_000;

    /// <summary>Everything that is wrong with documents.</summary>
    public PolicyCheckResult Check(PolicyDocuments asked) => new(asked.Alone
        ? [.. Proposal.ErrorsOf(asked.Documents, new CheckContext())]
        : Propose(asked).Errors);

    /// <summary>Runs examples: those in the documents given, under what would be in force with them.</summary>
    public async Task<PolicyTestReport> TestAsync(PolicyDocuments asked, CancellationToken cancellation)
    {
        var proposal = asked.Alone ? new Proposal(asked.Documents, asked.Connections, [.. Proposal.ErrorsOf(asked.Documents, new CheckContext())]) : Propose(asked);
        if (proposal.Errors.Count > 0)
        {
            throw new InvalidPolicyException(proposal.Errors);
        }

        var set = PolicyDecoder.Decode(proposal.Documents);
        var given = asked.Documents.Select(document => document.Name).ToHashSet(StringComparer.Ordinal);
        if (given.Count > 0)
        {
            set = set with { Tests = [.. set.Tests.Where(test => given.Contains(test.Name.At.File))] };
        }

        var runner = new PolicyTestRunner(services.FactsAsync);
        var results = await runner.RunAsync(set, proposal.Connections, clock.GetUtcNow(), cancellation);
        return new PolicyTestReport(
            [.. results.Select(result => new PolicyTestView(result.At.File, result.At.Line, $"{result.Test}: {result.Case}", result.Text, result.Passed, result.Detail))]);
    }

    /// <summary>Why an operation gets what it gets.</summary>
    public async Task<Explanation> ExplainAsync(AccessTokenClaims caller, PolicyExplainRequest asked, CancellationToken cancellation)
    {
        if (asked.Text.Length > MaxText)
        {
            throw new ProblemException(413, "too-large", $"A text has at most {MaxText} characters here.");
        }

        if (state.Current is not { } current)
        {
            throw new ProblemException(409, "no-bundle", "No policy bundle is in force yet: everything is denied.");
        }

        var connection = current.Bundle.Connections.FirstOrDefault(connection => connection.Name == asked.Connection)
            ?? throw new ProblemException(404, "unknown-connection", "There is no connection of that name.");
        var now = asked.At ?? clock.GetUtcNow();
        var facts = await services.FactsAsync(connection.Protocol, asked.Text, cancellation);
        return current.Engine.Explain(new DecisionInput
        {
            Principal = asked.Principal is { } other ? Principal(other, now) : Principal(caller),
            Connection = connection.Name,
            Database = asked.Database ?? connection.Database,
            Facts = facts,
            ClientAddress = asked.ClientAddress,
            Now = now,
        });
    }

    /// <summary>An approver group in force; null where there is none of that name.</summary>
    public ApproverGroupView? Group(string name) => state.Current?.Engine.Documents.ApproverGroups
        .Where(group => group.Name.Value == name)
        .Select(group => new ApproverGroupView(name, [.. group.Persons.Select(person => person.Value)], group.IdpGroup?.Value))
        .FirstOrDefault();

    private Proposal Propose(PolicyDocuments asked) => Proposal.Make(state.Current?.Bundle, asked.Documents, asked.RemovedDocuments, asked.Connections, []);

    private static PrincipalFacts Principal(AccessTokenClaims claims) => new(
        claims.Subject, claims.Person, claims.Name, claims.Kind, claims.Groups, claims.Acr, claims.Amr, DateTimeOffset.FromUnixTimeSeconds(claims.AuthenticatedAt));

    private static PrincipalFacts Principal(ExplainPrincipal principal, DateTimeOffset now) => new(
        "prn_example", principal.Person ?? "per_example", principal.Name, principal.Kind, principal.Groups, principal.Acr, principal.Amr, principal.AuthenticatedAt ?? now);
}
