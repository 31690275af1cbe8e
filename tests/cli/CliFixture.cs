using System.Collections.Concurrent;
using System.Text.Json;
using Countersign.Approval.Contracts;

namespace Countersign.Cli.Tests;

/// <summary>One fake server, one configuration directory, and the tool run in process against them.</summary>
public abstract class CliFixture : IAsyncLifetime
{
    private protected FakeServer Server { get; private set; } = null!;

    private protected string Root { get; } = Directory.CreateTempSubdirectory("countersign-cli-").FullName;

    private protected string Configuration => Path.Combine(Root, "config");

    private protected string ProfileDirectory(string profile = "default") => Path.Combine(Configuration, "profiles", profile);

    private protected ConcurrentDictionary<string, string> Variables { get; } = new();

    public async ValueTask InitializeAsync()
    {
        Server = await FakeServer.StartAsync();
        Variables["COUNTERSIGN_CONFIG"] = Configuration;
        Variables["COUNTERSIGN_SERVER"] = Server.Address.AbsoluteUri;
        Variables["TERM"] = "xterm";
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        Directory.Delete(Root, recursive: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Logs a person in, as scripts with an id_token do.</summary>
    private protected async Task LogInAsync(string person = "alice", string profile = "default")
    {
        var run = await RunAsync(new RunOptions { Input = Server.NewIdToken(person) + "\n" }, "login", "--id-token-stdin", "--profile", profile);
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
    }

    private protected Task<CliRun> RunAsync(params string[] arguments) => RunAsync(new RunOptions(), arguments);

    private protected async Task<CliRun> RunAsync(RunOptions options, params string[] arguments)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        using var input = new StringReader(options.Input);
        var host = new CliHost
        {
            In = input,
            Out = output,
            Error = error,
            InputIsTerminal = options.Terminal,
            OutputIsTerminal = options.Terminal,
            Variable = name => Variables.TryGetValue(name, out var value) ? value : null,
            OpenBrowser = options.Browser ?? (_ => false),
            Interrupted = options.Interrupted,
        };
        var exit = await CliApplication.RunAsync(arguments, host);
        return new CliRun(exit, output.ToString(), error.ToString());
    }

    private protected static RequestView Request(string id, string text, params string?[] parameters) => new()
    {
        Id = id,
        Kind = RequestKind.Operation,
        State = RequestState.Pending,
        Version = 1,
        Digest = RequestDigest.Compute([new string('a', 64)]),
        Requester = "per_alice",
        RequesterName = "alice@example.com",
        Connection = "shop",
        Database = "shop",
        Operations = [new RequestedOperation(new string('a', 64), text, parameters)],
        Redeemed = 0,
        AllOf = [new RequestRequirement(["dba"], 1)],
        Decisions = [],
        Rules = ["base/hold-deletes"],
        Message = "Deletes need a second person.",
        Reason = "",
        Context = new Dictionary<string, string> { ["search_path"] = "public" },
        Transaction = [],
        CreatedAt = DateTimeOffset.UtcNow,
        ExpiresAt = DateTimeOffset.UtcNow.AddMinutes(30),
        Link = $"https://countersign.example.com/approval/requests/{id}",
    };
}

internal sealed record RunOptions
{
    public string Input { get; init; } = "";

    public bool Terminal { get; init; }

    public Func<Uri, bool>? Browser { get; init; }

    public CancellationToken Interrupted { get; init; }
}

internal sealed record CliRun(int ExitCode, string Output, string Error)
{
    public JsonElement Json => JsonDocument.Parse(Output).RootElement;
}
