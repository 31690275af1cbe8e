using System.CommandLine;
using System.Globalization;
using Countersign.Cli.Output;
using Countersign.Recorder.Format;
using Countersign.Recorder.Verify;

namespace Countersign.Cli.Commands;

/// <summary>verify: checks an export offline. Asks no server: everything it believes is on the command line.</summary>
internal static class VerifyCommand
{
    /// <summary>Largest key or checkpoint file, in bytes.</summary>
    private const long LargestNote = 1024 * 1024;

    public static Command Create(CommandFactory make)
    {
        var export = new Argument<string>("EXPORT") { Description = "File that 'countersign export' wrote." };
        var key = new Option<string>("--key") { Description = "The recorder's public key: a file, or the key line itself. Get it another way than the export.", Required = true, HelpName = "PUB" };
        var checkpoint = new Option<string?>("--checkpoint") { Description = "File with a checkpoint that was kept elsewhere: finds roll-back, forks and a lost tail.", HelpName = "FILE" };
        var sealKey = new Option<string[]>("--seal-key") { Description = "Id of a proxy key that may seal sessions; may be repeated (default: those that the recorder names).", HelpName = "ID" };
        return make.New(
            "verify", "Check an export offline; every finding names the entry.",
            invocation => RunAsync(invocation, invocation.Get(export), invocation.Get(key)!, invocation.Get(checkpoint), invocation.Get(sealKey) ?? []),
            export, key, checkpoint, sealKey);
    }

    private static async Task<int> RunAsync(Invocation invocation, string export, string key, string? checkpoint, string[] sealKeys)
    {
        var options = new VerifyOptions
        {
            Key = (File.Exists(key) ? await ReadAsync(key, invocation.Cancellation) : key).Trim(),
            PinnedCheckpoint = checkpoint is null ? null : await ReadAsync(checkpoint, invocation.Cancellation),
            PinnedSealKeys = sealKeys.Length == 0 ? null : sealKeys,
        };
        VerifyReport report;
        try
        {
            await using var stream = new FileStream(export, new FileStreamOptions { Access = FileAccess.Read, Share = FileShare.Read, Options = FileOptions.SequentialScan | FileOptions.Asynchronous });
            report = await ExportVerifier.VerifyAsync(stream, options, invocation.Cancellation);
        }
        catch (EntryFormatException error)
        {
            throw CliException.Usage($"The key or the checkpoint can't be used, so nothing was verified: {error.Message}", inner: error);
        }

        return invocation.Print(report, output => Show(output, report), report.Verified ? ExitCodes.Ok : ExitCodes.Refused);
    }

    private static void Show(CliOutput output, VerifyReport report)
    {
        foreach (var finding in report.Findings)
        {
            output.Line($"{(finding.Severity == Severity.Error ? "ERROR " : "notice")}  {Place(finding)}: {finding.Kind}: {finding.Message}");
        }

        if (report.Findings.Count > 0)
        {
            output.Line();
        }

        var summary = report.Summary;
        output.Fields(
            ("log", summary.Origin),
            ("range", summary.To <= summary.From ? null : string.Create(CultureInfo.InvariantCulture, $"entries {summary.From} to {summary.To - 1} of {summary.LogSize}")),
            ("checked", string.Create(CultureInfo.InvariantCulture, $"{summary.Entries} entries, {summary.Omitted} left out, {summary.Erased} erased, {summary.Sessions} sessions, {summary.Seals} seals")),
            ("from", CliOutput.Time(summary.FirstAt)),
            ("to", CliOutput.Time(summary.LastAt)),
            ("root", summary.Root));
        var errors = report.Findings.Count(finding => finding.Severity == Severity.Error);
        output.Heading(report.Verified
            ? "VERIFIED: nothing was changed, removed, inserted or moved."
            : string.Create(CultureInfo.InvariantCulture, $"NOT VERIFIED: {errors} {(errors == 1 ? "error" : "errors")}."));
    }

    private static string Place(Finding finding)
    {
        var parts = new List<string>();
        if (finding.Index is { } index)
        {
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"entry {index}"));
        }

        if (finding.Line > 0)
        {
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"line {finding.Line}"));
        }

        if (finding.Session is not null)
        {
            parts.Add(finding.Sequence is { } sequence ? string.Create(CultureInfo.InvariantCulture, $"session {finding.Session} number {sequence}") : $"session {finding.Session}");
        }

        return parts.Count == 0 ? "export" : string.Join(", ", parts);
    }

    private static async Task<string> ReadAsync(string path, CancellationToken cancellation)
    {
        if (new FileInfo(path).Length > LargestNote)
        {
            throw CliException.Usage($"{path} is too large to be a key or a checkpoint.");
        }

        return await File.ReadAllTextAsync(path, cancellation);
    }
}
