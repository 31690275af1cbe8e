using System.CommandLine;
using System.Globalization;
using Countersign.Cli.Output;
using Countersign.Policy.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>policy check, test, apply, explain and show.</summary>
internal static class PolicyCommands
{
    public static Command Create(CommandFactory make) => CommandFactory.Group(
        "policy", "Check, test, apply, show and explain policies.", Check(make), Test(make), Apply(make), Explain(make), Show(make));

    private static Command Check(CommandFactory make)
    {
        var files = Files();
        var alone = Alone();
        return make.New("check", "Say everything that is wrong with policy documents.", async invocation =>
        {
            var result = await invocation.Server.PostAsync<PolicyDocuments, PolicyCheckResult>(
                "policy", "policy/v1/check", Documents(invocation, files, alone), invocation.Cancellation);
            return invocation.Print(
                result,
                output =>
                {
                    foreach (var error in result.Errors)
                    {
                        output.Line(string.Create(CultureInfo.InvariantCulture, $"{error.Document}:{error.Line}:{error.Column}: {error.Message} [{error.Code}]"));
                    }

                    output.Notice(result.Errors.Count == 0 ? "No errors." : string.Create(CultureInfo.InvariantCulture, $"{result.Errors.Count} errors."));
                },
                result.Errors.Count == 0 ? ExitCodes.Ok : ExitCodes.Refused);
        }, files, alone);
    }

    private static Command Test(CommandFactory make)
    {
        var files = Files();
        var alone = Alone();
        return make.New("test", "Run the examples that live beside policies.", async invocation =>
        {
            var result = await invocation.Server.PostAsync<PolicyDocuments, PolicyTestReport>(
                "policy", "policy/v1/test", Documents(invocation, files, alone), invocation.Cancellation);
            var failed = result.Tests.Count(test => !test.Passed);
            return invocation.Print(
                result,
                output =>
                {
                    foreach (var test in result.Tests)
                    {
                        output.Line(string.Create(CultureInfo.InvariantCulture, $"{(test.Passed ? "pass" : "FAIL")}  {test.Document}:{test.Line}: {test.Name}"));
                        if (!test.Passed)
                        {
                            output.Exact(test.Text);
                            output.Line($"  {test.Message}");
                        }
                    }

                    output.Notice(string.Create(CultureInfo.InvariantCulture, $"{result.Tests.Count - failed} passed, {failed} failed."));
                },
                failed == 0 ? ExitCodes.Ok : ExitCodes.Refused);
        }, files, alone);
    }

    private static Command Apply(CommandFactory make)
    {
        var files = new Argument<string[]>("FILES") { Description = "Policy documents, or directories of them.", Arity = ArgumentArity.ZeroOrMore };
        var remove = new Option<string[]>("--remove") { Description = "Remove this document; may be repeated.", HelpName = "NAME" };
        var reason = Changes.ReasonOption(required: true);
        var atOnce = Changes.AtOnceOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        return make.New("apply", "Ask for policy documents to be put into force; a second person approves.", async invocation =>
        {
            var documents = PolicyFiles.Read(invocation.Get(files));
            var removed = invocation.Get(remove) ?? [];
            if (documents.Count == 0 && removed.Length == 0)
            {
                throw CliException.Usage("There is nothing to apply.", "Name policy documents, or --remove one.");
            }

            var ask = new PolicyChangeRequest { Documents = documents, RemovedDocuments = removed, Reason = invocation.Get(reason)!, AtOnce = invocation.Get(atOnce) };
            return await Changes.AskAsync(invocation, ask, invocation.Get(wait), invocation.Get(timeout));
        }, files, remove, reason, atOnce, wait, timeout);
    }

    private static Command Explain(CommandFactory make)
    {
        var connection = new Argument<string>("CONNECTION") { Description = "Connection." };
        var text = new Argument<string>("SQL") { Description = "The statement; '-' reads it from stdin." };
        var database = new Option<string?>("--database", "-d") { Description = "Database at the target.", HelpName = "D" };
        return make.New("explain", "Say what would be decided about a statement of yours, why, and what would let it pass.", async invocation =>
        {
            var statement = invocation.Get(text) is "-" ? await invocation.Host.In.ReadToEndAsync(invocation.Cancellation) : invocation.Get(text);
            var explanation = await Explanations.GetAsync(invocation, invocation.Get(connection), invocation.Get(database), statement);
            return invocation.Print(explanation, output => Explanations.Show(output, explanation));
        }, connection, text, database);
    }

    private static Command Show(CommandFactory make)
    {
        var name = new Argument<string?>("NAME") { Description = "Only this document.", Arity = ArgumentArity.ZeroOrOne };
        return make.New("show", "Show the policy documents in force.", async invocation =>
        {
            var all = await invocation.Server.GetAsync<PolicyDocumentsInForce>("policy", "policy/v1/documents", invocation.Cancellation);
            var wanted = invocation.Get(name);
            var shown = all with { Documents = [.. all.Documents.Where(document => wanted is null || document.Name == wanted)] };
            if (wanted is not null && shown.Documents.Count == 0)
            {
                throw new CliException(ExitCodes.Refused, $"No document '{wanted}' is in force.", code: "unknown-name");
            }

            return invocation.Print(shown, output =>
            {
                foreach (var document in shown.Documents)
                {
                    output.Heading(string.Create(CultureInfo.InvariantCulture, $"{document.Name} (version {shown.Version})"));
                    output.Exact(document.Yaml.TrimEnd('\n'));
                }
            });
        }, name);
    }

    private static Option<bool> Alone() => new("--alone") { Description = "Look at these documents alone, not together with those in force." };

    private static PolicyDocuments Documents(Invocation invocation, Argument<string[]> files, Option<bool> alone) =>
        new() { Documents = PolicyFiles.Read(invocation.Get(files)), Alone = invocation.Get(alone) };

    private static Argument<string[]> Files() => new("FILES") { Description = "Policy documents, or directories of them.", Arity = ArgumentArity.OneOrMore };
}
