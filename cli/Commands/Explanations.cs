using Countersign.Cli.Output;
using Countersign.Policy.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>Asks policy why, and shows the answer.</summary>
internal static class Explanations
{
    public static Task<Explanation> GetAsync(Invocation invocation, string connection, string? database, string text) =>
        invocation.Server.PostAsync<PolicyExplainRequest, Explanation>(
            "policy", "policy/v1/explain", new PolicyExplainRequest { Connection = connection, Database = database, Text = text }, invocation.Cancellation);

    public static string Name(Outcome outcome) => outcome switch
    {
        Outcome.Allow => "allow",
        Outcome.RequireApproval => "require approval",
        _ => "deny",
    };

    public static void Show(CliOutput output, Explanation explanation)
    {
        output.Heading($"Decision: {Name(explanation.Decision.Outcome)}");
        output.Fields(
            ("message", explanation.Decision.Message),
            ("hint", explanation.Decision.Hint),
            ("bundle", explanation.Decision.BundleVersion.ToString(System.Globalization.CultureInfo.InvariantCulture)));
        foreach (var statement in explanation.Statements)
        {
            output.Line();
            output.Heading($"{(statement.Index < 0 ? "Operation" : $"Statement {statement.Index + 1}")}: {string.Join(", ", statement.Kinds)} -> {Name(statement.Outcome)}");
            if (!statement.Rules.Any(rule => rule.Matched))
            {
                output.Line("  no rule matched, and what no rule allows is denied");
            }

            foreach (var rule in statement.Rules)
            {
                output.Line($"  {(rule.Matched ? "matched" : "missed ")}  {rule.Policy}/{rule.Rule} ({Name(rule.Effect)}{(rule.Shadow ? ", shadow" : "")})");
                foreach (var condition in rule.Conditions.Where(condition => rule.Matched || !condition.Holds))
                {
                    output.Line($"    {(condition.Holds ? "yes" : "no ")}  {condition.Name}: {condition.Detail}");
                }
            }
        }

        ShowSuggestions(output, explanation);
    }

    public static void ShowSuggestions(CliOutput output, Explanation explanation)
    {
        if (explanation.Suggestions.Count == 0)
        {
            return;
        }

        output.Line();
        output.Heading("What would let it pass");
        foreach (var suggestion in explanation.Suggestions)
        {
            output.Line($"  - {suggestion}");
        }
    }
}
