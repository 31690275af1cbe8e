using System.CommandLine;
using System.Globalization;
using Countersign.Cli.Output;
using Countersign.Cli.Server;

namespace Countersign.Cli.Commands;

/// <summary>policy check, test, apply and explain.</summary>
internal static class PolicyCommands
{
    public static Command Create(CommandFactory make) => CommandFactory.Group(
        "policy", "Check, test, apply and explain policies.", Check(make), Test(make), Apply(make), Explain(make));

    private static Command Check(CommandFactory make)
    {
        var files = Files();
        return make.New("check", "Say everything that is wrong with policy documents.", async invocation =>
        {
            var result = await invocation.Server.PostAsync<DocumentsRequest, CheckResult>(
                "policy", "policy/v1/check", new DocumentsRequest(PolicyFiles.Read(invocation.Get(files))), invocation.Cancellation);
            return invocation.Print(
                result,
                output =>
                {
                    foreach (var error in result.Errors)
                    {
                        output.Line(string.Create(CultureInfo.InvariantCulture, $"{error.Document}:{error.Line}:{error.Column}: {error.Message}{(error.Code is null ? "" : $" [{error.Code}]")}"));
                    }

                    output.Notice(result.Errors.Count == 0 ? "No errors." : string.Create(CultureInfo.InvariantCulture, $"{result.Errors.Count} errors."));
                },
                result.Errors.Count == 0 ? ExitCodes.Ok : ExitCodes.Refused);
        }, files);
    }

    private static Command Test(CommandFactory make)
    {
        var files = Files();
        return make.New("test", "Run the examples that live beside policies.", async invocation =>
        {
            var result = await invocation.Server.PostAsync<DocumentsRequest, TestResult>(
                "policy", "policy/v1/test", new DocumentsRequest(PolicyFiles.Read(invocation.Get(files))), invocation.Cancellation);
            var failed = result.Tests.Count(test => !test.Passed);
            return invocation.Print(
                result,
                output =>
                {
                    foreach (var test in result.Tests)
                    {
                        output.Line($"{(test.Passed ? "pass" : "FAIL")}  {(test.Document is null ? "" : test.Document + ": ")}{test.Name}");
                        if (!test.Passed && !string.IsNullOrEmpty(test.Message))
                        {
                            output.Exact(test.Message);
                        }
                    }

                    output.Notice(string.Create(CultureInfo.InvariantCulture, $"{result.Tests.Count - failed} passed, {failed} failed."));
                },
                failed == 0 ? ExitCodes.Ok : ExitCodes.Refused);
        }, files);
    }

    private static Command Apply(CommandFactory make)
    {
        var files = new Argument<string[]>("FILES") { Description = "Policy documents, or directories of them.", Arity = ArgumentArity.ZeroOrMore };
        var remove = new Option<string[]>("--remove") { Description = "Remove this document; may be repeated.", HelpName = "NAME" };
        var reason = Changes.ReasonOption(required: true);
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

            var change = await invocation.Server.PostAsync<ChangeRequest, ChangeView>(
                "policy", "policy/v1/changes", new ChangeRequest(documents, removed, [], [], invocation.Get(reason)!), invocation.Cancellation);
            return await Changes.FinishAsync(invocation, change, invocation.Get(wait), invocation.Get(timeout));
        }, files, remove, reason, wait, timeout);
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

    private static Argument<string[]> Files() => new("FILES") { Description = "Policy documents, or directories of them.", Arity = ArgumentArity.OneOrMore };
}
