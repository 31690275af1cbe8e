using System.Diagnostics;
using System.Globalization;
using Countersign.Fakes.Postgres;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>node-postgres as it is published (tests/fakes/node, installed by eng/install.sh): what it sends differs from libpq and Npgsql.</summary>
[Trait("group", "postgres")]
public sealed class NodeTests(ServerFixture server)
{
    private static readonly string Scripts = FindScripts();

    [Theory]
    [InlineData("queries")]
    [InlineData("pipeline")]
    [InlineData("refused")]
    [InlineData("copy")]
    [InlineData("wrongpassword")]
    public async Task Plain(string scenario)
    {
        await PrepareAsync();
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(deny: ["DELETE"]);
        await using var node = new Node(gateway, scenario);
        await node.SucceedsAsync();
        Assert.All(gateway.Recorder.Sessions, session => Assert.Equal("client", session.EndedAsync().GetAwaiter().GetResult().Reason));
    }

    [Fact]
    public async Task A_held_statement_is_told_at_once_and_passes_after_approval()
    {
        await PrepareAsync();
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        await using var node = new Node(gateway, "held");
        for (var count = 0; count < 2; count++)
        {
            var request = await gateway.Approvals.NextAsync();
            Assert.Equal($"HELD {request}", await node.LineAsync());
            gateway.Approvals.Decide(request, approve: true);
        }

        await node.SucceedsAsync();
        Assert.Equal(2, gateway.Approvals.Redeemed);
    }

    [Fact]
    public async Task A_cancel_ends_what_runs_and_what_is_held()
    {
        await PrepareAsync();
        await using var gateway = new Gateway(server.Port);
        gateway.Decider.By(hold: ["DELETE"]);
        await using var node = new Node(gateway, "cancel");
        Assert.StartsWith("HELD ", await node.LineAsync(), StringComparison.Ordinal);
        await node.SucceedsAsync();
        Assert.Single(gateway.Approvals.Withdrawn);
        Assert.Equal(0, gateway.Approvals.Redeemed);
    }

    [Fact]
    public async Task Masked_columns_are_masked_in_text_binary_and_copy()
    {
        await PrepareAsync();
        await using var gateway = new Gateway(server.Port, masks: true);
        gateway.Decider.Rule = _ => FunctionDecider.Allow with
        {
            Obligations = new Obligations { Masks = [new ColumnMask("public", "node_people", "ssn", "redact")] },
        };
        await using var node = new Node(gateway, "masked");
        await node.SucceedsAsync();
    }

    [Fact]
    public async Task Tls_with_the_gateways_authority()
    {
        var (authority, leaf) = TestCertificates.Make("localhost");
        await using var gateway = new Gateway(server.Port, new PostgresOptions { Certificate = leaf });
        var file = System.IO.Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, authority.ExportCertificatePem());
            await using var node = new Node(gateway, "tls", new() { ["CA"] = file });
            await node.SucceedsAsync();
        }
        finally
        {
            File.Delete(file);
        }
    }

    private Task<string> PrepareAsync() => server.DirectAsync(
        """
        set client_min_messages = error;
        create table if not exists node_rows(id int); truncate node_rows; insert into node_rows select generate_series(1, 9);
        drop table if exists node_people; create table node_people(name text, ssn text); insert into node_people values ('ann', '123-45-6789');
        """);

    private static string FindScripts()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(System.IO.Path.Combine(folder.FullName, "Countersign.slnx")))
        {
            folder = folder.Parent;
        }

        var scripts = System.IO.Path.Combine(folder?.FullName ?? "/", "tests", "fakes", "node");
        return Directory.Exists(System.IO.Path.Combine(scripts, "node_modules", "pg"))
            ? scripts
            : throw new InvalidOperationException($"{scripts} has no node_modules: run eng/install.sh tests.");
    }

    /// <summary>One run of a scenario.</summary>
    private sealed class Node : IAsyncDisposable
    {
        private readonly Process _process;
        private readonly Task<string> _errors;

        public Node(Gateway gateway, string scenario, Dictionary<string, string>? more = null)
        {
            var start = new ProcessStartInfo("node", [System.IO.Path.Combine(Scripts, "scenario.js"), scenario])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                WorkingDirectory = Scripts,
            };
            var environment = new Dictionary<string, string>
            {
                ["PGHOST"] = "127.0.0.1",
                ["PGPORT"] = gateway.Port.ToString(CultureInfo.InvariantCulture),
                ["PGUSER"] = Gateway.User,
                ["PGPASSWORD"] = Gateway.Secret,
                ["PGDATABASE"] = Gateway.Connection,
            };
            foreach (var (name, value) in environment.Concat(more ?? []))
            {
                start.Environment[name] = value;
            }

            _process = Process.Start(start)!;
            _errors = _process.StandardError.ReadToEndAsync();
        }

        /// <summary>The next line that it prints.</summary>
        public async Task<string?> LineAsync() => await _process.StandardOutput.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(30));

        public async Task SucceedsAsync()
        {
            var line = await LineAsync();
            Assert.True(line == "OK", $"{line} {(line is null ? await _errors : "")}");
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            await _process.WaitForExitAsync(limit.Token);
            Assert.Equal(0, _process.ExitCode);
        }

        public ValueTask DisposeAsync()
        {
            if (!_process.HasExited)
            {
                _process.Kill();
            }

            _process.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
