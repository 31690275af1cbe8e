using System.CommandLine;
using Countersign.Cli.Output;
using Countersign.Cli.Server;
using Countersign.Policy.Contracts;
using Countersign.Recorder.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>why: the last refusal, its rule, and what would pass.</summary>
internal static class WhyCommand
{
    public static Command Create(CommandFactory make) => make.New("why", "Explain your last refusal: which rule, and what would let it pass.", RunAsync);

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var me = await invocation.OwnClaimsAsync();
        var refused = (await invocation.Server.GetAsync<List<OperationView>>(
            "recorder", CountersignServer.Query("recorder/v1/operations", ("person", me.Person), ("decision", "deny"), ("limit", "1")), invocation.Cancellation)).FirstOrDefault();
        if (refused is null)
        {
            return invocation.Print(
                new { refusal = (object?)null, explanation = (object?)null }, output => output.Notice("Nothing of yours was refused."));
        }

        var explanation = await ExplainAsync(invocation, refused);
        return invocation.Print(
            new { refusal = refused, explanation },
            output =>
            {
                output.Heading("Refused");
                output.Exact(refused.Text);
                output.Fields(
                    ("at", CliOutput.Time(refused.At)),
                    ("connection", refused.Connection),
                    ("session", $"{refused.Session} operation {refused.Operation}"),
                    ("rule", refused.Rules.Count == 0 ? "none matched, and what no rule allows is denied" : string.Join(", ", refused.Rules)),
                    ("request", refused.Request),
                    ("message", explanation?.Decision.Message));
                if (explanation is null)
                {
                    return;
                }

                if (explanation.Decision.Outcome != Outcome.Deny)
                {
                    output.Line();
                    output.Line($"Under the policy in force now the answer is: {Explanations.Name(explanation.Decision.Outcome)}.");
                }

                Explanations.ShowSuggestions(output, explanation);
            });
    }

    // The record stands by itself; what would pass now is worth saying, but not worth failing for.
    private static async Task<Explanation?> ExplainAsync(Invocation invocation, OperationView refused)
    {
        try
        {
            return await Explanations.GetAsync(invocation, refused.Connection, null, refused.Text);
        }
        catch (CliException error)
        {
            invocation.Output.Notice($"What would let it pass can't be told: {error.Message}");
            return null;
        }
    }
}
