using System.Collections.Concurrent;
using System.Diagnostics;
using Countersign.Fakes.Postgres;

namespace Countersign.Distributed.Tests.Chaos;

/// <summary>pgbench through one proxy: statements that are allowed, each with a number of its own in table <c>load</c>. Starts again when it has lost its connections.</summary>
internal sealed class PgBench
{
    private readonly string _script = Path.GetTempFileName();
    private readonly CancellationTokenSource _stop = new();
    private readonly (string Target, string Password) _where;
    private readonly Action<string> _mishap;
    private readonly Task _running;

    public PgBench(ChaosCluster cluster, string proxy, string run, Action<string> mishap)
    {
        (_where, _mishap) = (cluster.LibpqThrough(proxy), mishap);
        File.WriteAllText(_script, $"\\set n random(1, 1000000000000000)\ninsert into public.load values ('{run}', :client_id, :n);\n");
        _running = Task.Run(RunAsync);
    }

    public async Task StopAsync()
    {
        await _stop.CancelAsync();
        await _running;
        File.Delete(_script);
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            var start = new ProcessStartInfo(Path.Combine(PostgresServer.Programs, "pgbench"))
            {
                RedirectStandardError = true,
                RedirectStandardOutput = true,
                WorkingDirectory = "/tmp",
            };
            foreach (var argument in new[] { "-n", "-c", "2", "-T", "3600", "--rate", "20", "-f", _script, _where.Target })
            {
                start.ArgumentList.Add(argument);
            }

            start.Environment["PGPASSWORD"] = _where.Password;
            using var process = Process.Start(start)!;
            var errors = new ConcurrentQueue<string>();
            process.ErrorDataReceived += (_, line) => errors.Enqueue(line.Data ?? "");
            process.BeginErrorReadLine();
            process.BeginOutputReadLine();
            try
            {
                await process.WaitForExitAsync(_stop.Token);
                await process.WaitForExitAsync();
                // A client that was between two statements is shown the reason as a notice, and its next statement as one whose backend may have died.
                var reasons = new Queue<string>(errors.Where(line => line.StartsWith("FATAL:", StringComparison.Ordinal)));
                foreach (var error in errors.Where(line => line.StartsWith("pgbench: error", StringComparison.Ordinal)))
                {
                    _mishap(error.EndsWith("perhaps the backend died while processing", StringComparison.Ordinal) && reasons.TryDequeue(out var reason) ? reason : error);
                }

                // Nobody there: it comes back when somebody is, and doesn't burn the machine meanwhile.
                await Task.Delay(200, _stop.Token);
            }
            catch (OperationCanceledException)
            {
                process.Kill();
                await process.WaitForExitAsync();
            }
        }
    }
}
