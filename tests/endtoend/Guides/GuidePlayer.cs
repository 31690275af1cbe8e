using System.Diagnostics;
using System.Text.RegularExpressions;
using Countersign.Approval.Contracts;
using Countersign.EndToEnd.Tests.Support;
using Countersign.Policy.Contracts;
using Countersign.Recorder.Contracts;

namespace Countersign.EndToEnd.Tests.Guides;

/// <summary>Plays a guide as its readers would: each person with a psql session and a shell, in one folder with the guide's files.</summary>
internal sealed partial class GuidePlayer(World world, string folder) : IAsyncDisposable
{
    private readonly Dictionary<string, (Process Process, GuideOutput Output, Task Reading)> _sessions = [];
    private readonly Dictionary<string, string> _failed = [];
    private string _request = "";

    /// <summary>Plays one block.</summary>
    /// <exception cref="GuideException">It isn't as the guide shows it.</exception>
    public async Task PlayAsync(GuideBlock block)
    {
        switch (block.Kind)
        {
            case "yaml" or "sql":
                await File.WriteAllTextAsync(Path.Combine(folder, block.Name), string.Join('\n', block.Lines) + '\n');
                break;
            case "psql":
                await PsqlAsync(block);
                break;
            default:
                foreach (var (input, output) in Guide.Exchanges(block.Lines, line => line.StartsWith("$ ", StringComparison.Ordinal) ? line[2..] : null))
                {
                    await ShellAsync(Find(block.Name), input ?? throw new GuideException("a shell shows nothing before a command"), output);
                }

                break;
        }
    }

    /// <summary>Ends the sessions; nothing may be left that no block shows.</summary>
    public async Task EndAsync()
    {
        foreach (var (person, (process, output, _)) in _sessions)
        {
            await process.StandardInput.WriteLineAsync("\\echo the end");
            try
            {
                await output.ExpectAsync(["the end"]);
            }
            catch (GuideException error)
            {
                throw new GuideException($"at the end of {person}'s session: {error.Message}");
            }
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (var (process, _, reading) in _sessions.Values)
        {
            process.Kill(entireProcessTree: true);
            await reading;
            process.Dispose();
        }
    }

    private async Task PsqlAsync(GuideBlock block)
    {
        if (!_sessions.TryGetValue(block.Name, out var session))
        {
            _sessions[block.Name] = session = await OpenAsync(Find(block.Name));
        }

        foreach (var (input, output) in Guide.Exchanges(block.Lines, line => Prompt().Match(line) is { Success: true } prompt ? line[prompt.Length..] : null))
        {
            if (input is not null)
            {
                await session.Process.StandardInput.WriteLineAsync(input);
                await session.Process.StandardInput.FlushAsync();
            }

            await session.Output.ExpectAsync(output);
            if (input is not null && output.Any(line => line.StartsWith("ERROR:", StringComparison.Ordinal)))
            {
                _failed[block.Name] = input;
            }
        }
    }

    private async Task<(Process Process, GuideOutput Output, Task Reading)> OpenAsync(Person person)
    {
        var credential = await person.CredentialAsync();
        var start = Shell("exec psql -X -q \"$CONNECT\" 2>&1");
        start.Environment["CONNECT"] = await world.ConnectionStringAsync(credential.Credential.UserName, "shop");
        start.Environment["PGPASSWORD"] = credential.Secret;
        start.Environment["PGCLIENTENCODING"] = "UTF8";
        var process = Process.Start(start)!;
        var output = new GuideOutput();
        return (process, output, output.FillAsync(process.StandardOutput));
    }

    private async Task ShellAsync(Person person, string command, IReadOnlyList<string> shown)
    {
        if (command.Contains("apr_…", StringComparison.Ordinal))
        {
            command = command.Replace("apr_…", await NewestRequestAsync(), StringComparison.Ordinal);
        }

        if (command == "countersign why" && _failed.TryGetValue(person.Name, out var failed))
        {
            await Until.TrueAsync("the refusal is recorded and indexed", async () =>
                (await person.GetAsync<List<OperationView>>($"recorder/v1/operations?person={person.Id}&decision=deny&limit=1")).FirstOrDefault()?.Text == failed);
        }

        var start = Shell($"({command}) 2>&1 || echo \"exit code $?\"");
        await LogInAsync(person);
        Use(start, person);
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var output = new GuideOutput();
        var reading = output.FillAsync(process.StandardOutput);
        await output.ExpectAsync(shown);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        await reading;
        if (output.Rest() is { Count: > 0 } rest && shown is not [.., "…"])
        {
            throw new GuideException($"after {command} the guide doesn't show: {string.Join('\n', rest)}");
        }

        // Readers take longer than the bus; a test doesn't.
        if (_request.Length > 0 && await world.Bob.RequestAsync(_request) is { Kind: RequestKind.Bundle, State: RequestState.Approved or RequestState.Consumed })
        {
            await Until.TrueAsync("what was approved is in force", async () => (await world.Alice.GetAsync<PolicyChangeView>($"policy/v1/changes/{_request}")).State == "active");
        }

        await world.EnforcedAsync();
    }

    private async Task LogInAsync(Person person)
    {
        if (Directory.Exists(Profile(person)))
        {
            return;
        }

        var start = Shell("exec countersign login --id-token-stdin > /dev/null 2>&1");
        Use(start, person);
        using var process = Process.Start(start)!;
        await process.StandardInput.WriteLineAsync(await person.ProviderTokenAsync());
        process.StandardInput.Close();
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, process.ExitCode);
    }

    /// <summary>The request that a reader would have in front of them: the newest that waits, else the one that was meant before.</summary>
    private async Task<string> NewestRequestAsync()
    {
        foreach (var person in new[] { world.Alice, world.Carol })
        {
            var pending = await person.GetAsync<List<RequestView>>("approval/v1/requests?filter=mine&state=pending");
            if (pending.MaxBy(request => request.CreatedAt) is { } newest)
            {
                return _request = newest.Id;
            }
        }

        return _request.Length > 0 ? _request : throw new GuideException("there is no request that apr_… could mean");
    }

    private ProcessStartInfo Shell(string script)
    {
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardInput = true, RedirectStandardOutput = true, WorkingDirectory = folder };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add(script);
        return start;
    }

    private void Use(ProcessStartInfo start, Person person)
    {
        start.Environment["COUNTERSIGN_CONFIG"] = Profile(person);
        start.Environment["COUNTERSIGN_SERVER"] = world.Address.AbsoluteUri;
        start.Environment["PATH"] = $"{CliFolder}:{start.Environment["PATH"]}";
    }

    private string Profile(Person person) => Path.Combine(world.Folder, $"cli-{person.Name}");

    private Person Find(string name) => new[] { world.Alice, world.Bob, world.Carol, world.Dave, world.Erin }.FirstOrDefault(person => person.Name == name)
        ?? throw new GuideException($"nobody is called {name}");

    private static string CliFolder
    {
        get
        {
            var own = new DirectoryInfo(AppContext.BaseDirectory.TrimEnd('/'));
            return Path.Combine(own.Parent!.Parent!.FullName, "Countersign.Cli", own.Name);
        }
    }

    [GeneratedRegex("^shop[=-][*!]?[>#] ?")]
    private static partial Regex Prompt();
}
