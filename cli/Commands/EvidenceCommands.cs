using System.CommandLine;
using Countersign.Cli.Profiles;
using Countersign.Cli.Server;

namespace Countersign.Cli.Commands;

/// <summary>export, key and checkpoint: evidence to take away.</summary>
internal static class EvidenceCommands
{
    public static IEnumerable<Command> Create(CommandFactory make)
    {
        var file = new Option<string?>("--file") { Description = "File to write; --output FILE means the same.", HelpName = "FILE" };
        var from = Arguments.From();
        var to = Arguments.To();
        yield return make.New(
            "export", "Write recorded entries to a file that can be verified offline.", outputMayBeFile: true,
            invocation => ExportAsync(invocation, invocation.Get(file) ?? invocation.OutputFile, invocation.Get(from), invocation.Get(to)), file, from, to);

        yield return Text(make, "key", "Show the recorder's public key, for 'verify --key'.", "recorder/v1/key");
        yield return Text(make, "checkpoint", "Show the log's signed checkpoint; one kept elsewhere proves later that nothing was cut off.", "recorder/v1/checkpoint");
    }

    private static Command Text(CommandFactory make, string name, string description, string path)
    {
        var file = new Option<string?>("--file") { Description = "File to write instead of stdout.", HelpName = "FILE" };
        return make.New(name, description, outputMayBeFile: true, async invocation =>
        {
            var text = await invocation.Server.GetTextAsync("recorder", path, invocation.Cancellation);
            if ((invocation.Get(file) ?? invocation.OutputFile) is { } target)
            {
                PrivateFile.Write(target, text);
                return invocation.Print(new { file = target }, output => output.Notice($"Written to {target}"));
            }

            return invocation.Print(new Dictionary<string, string> { [name] = text.TrimEnd('\n') }, output =>
            {
                foreach (var line in text.TrimEnd('\n').Split('\n'))
                {
                    output.Line(line);
                }
            });
        }, file);
    }

    private static async Task<int> ExportAsync(Invocation invocation, string? file, string? from, string? to)
    {
        if (file is null)
        {
            throw CliException.Usage("An export goes to a file.", "Add --file FILE");
        }

        var path = CountersignServer.Query(
            "recorder/v1/export", ("from", Arguments.Time(from, invocation.Host.Time)), ("to", Arguments.Time(to, invocation.Host.Time)));
        using var response = await invocation.Server.GetStreamedAsync("recorder", path, invocation.Cancellation);

        // A name of its own until it is whole: half an export would look like tampering.
        var partial = $"{file}.{Guid.NewGuid():N}.partial";
        long bytes;
        try
        {
            await using (var stream = PrivateFile.Create(partial))
            {
                await response.Content.CopyToAsync(stream, invocation.Cancellation);
                bytes = stream.Length;
            }

            File.Move(partial, file, overwrite: true);
        }
        catch (HttpRequestException error)
        {
            throw CountersignServer.Unreachable(invocation.Server.BaseAddress, error);
        }
        finally
        {
            File.Delete(partial);
        }

        return invocation.Print(new { file, bytes }, output => output.Notice($"Written to {file} ({bytes} bytes). Check it with: countersign verify {file} --key KEY"));
    }
}
