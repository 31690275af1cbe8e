using System.Diagnostics;
using System.Text.Json;
using Countersign.Approval.Actors;
using Countersign.Approval.Contracts;
using Countersign.Approval.Workflow;
using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Countersign.Benchmarks.Approval;

/// <summary>What pending requests cost: documents, index, grains and wake-ups, as the service runs them.</summary>
internal static class Memory
{
    private const int PerPerson = 5;
    private const int AtOnce = 32;

    public static async Task SeedAsync(string path, int count, string? keyFile)
    {
        using var store = new SqliteStateStore(path);
        using var key = keyFile is null ? SigningKey.Create() : SigningKey.LoadOrCreate(keyFile);
        using var host = Build(store, key);
        await host.StartAsync();
        var workflows = host.Services.GetRequiredService<IWorkflowHost>();
        await AskAsync(workflows, "per_warm_up", -1);
        await SettleAsync();
        var (managed, resident) = Measure();
        var began = Stopwatch.GetTimestamp();
        var next = -1;
        await Task.WhenAll(Enumerable.Range(0, AtOnce).Select(_ => Task.Run(async () =>
        {
            for (var number = Interlocked.Increment(ref next); number < count; number = Interlocked.Increment(ref next))
            {
                await AskAsync(workflows, $"per_bench_{number / PerPerson:d8}", number);
            }
        })));
        var elapsed = Stopwatch.GetElapsedTime(began);
        // Grains tidy up a second after they changed, and are gone then.
        await SettleAsync();
        var (after, residentAfter) = Measure();
        Console.WriteLine($"opened {count} {count / elapsed.TotalSeconds:0} requests/s {(after - managed) / (double)count:0} managed B/request {(residentAfter - resident) / (double)count:0} resident B/request");
        await host.StopAsync();
    }

    public static async Task LoadAsync(string path)
    {
        using var store = new SqliteStateStore(path);
        using var key = SigningKey.Create();
        using var host = Build(store, key);
        var began = Stopwatch.GetTimestamp();
        await host.StartAsync();
        var elapsed = Stopwatch.GetElapsedTime(began);
        await SettleAsync();
        var (managed, resident) = Measure();
        Console.WriteLine($"loaded {host.Services.GetRequiredService<RequestIndex>().Count} {elapsed.TotalSeconds:0.0} s {managed} managed B {resident} resident B");
        await host.StopAsync();
    }

    private static (long Managed, long Resident) Measure()
    {
        GC.Collect(2, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        GC.WaitForPendingFinalizers();
        GC.Collect(2, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        using var self = Process.GetCurrentProcess();
        return (GC.GetTotalMemory(forceFullCollection: true), self.WorkingSet64);
    }

    private static Task SettleAsync() => Task.Delay(TimeSpan.FromSeconds(5));

    private static IHost Build(IStateStore store, SigningKey key)
    {
        var builder = Microsoft.Extensions.Hosting.Host.CreateEmptyApplicationBuilder(null);
        builder.Logging.ClearProviders();
        builder.Services.AddSingleton<IEvidence, BenchEvidence>();
        builder.Services.AddSingleton<IGrantSigner>(new BenchSigner(key));
        builder.Services.AddSingleton<IEffects<RequestDocument, RequestEffect>, Silence>();
        builder.Services.AddSingleton<IRefusalReports, Silence>();
        builder.Services.AddKeyedSingleton(AppIds.Approval, store);
        builder.AddApprovalActors(0, new WorkflowSettings(RequesterLimits.Default, TimeSpan.FromDays(1), new RequestRetention(null)));
        return builder.Build();
    }

    private static async Task AskAsync(IWorkflowHost workflows, string person, int number)
    {
        var digest = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(BitConverter.GetBytes(number)));
        var spec = new RequestSpec
        {
            Id = "apr_" + string.Concat(Convert.FromHexString(digest).Take(26).Select(value => "abcdefghijklmnopqrstuvwxyz234567"[value % 32])),
            Kind = WorkflowKind.Operation,
            AskedBy = AppIds.Proxy,
            Requester = new SpecRequester("", "", []),
            Connection = "shop",
            Database = "shop",
            Operations = [new SpecOperation(digest, $"UPDATE orders SET status = 'cancelled', cancelled_at = now(), cancelled_by = $1 WHERE id = $2 AND status = 'open' /* ticket {number} */", ["alice@example.com", $"{number}"])],
            Digest = RequestDigest.Compute([digest]),
            AllOf = [new SpecRequirement(["dba"], 1)],
            Rules = ["production/changes"],
            Message = "Changes need a second person.",
            Reason = "Customer asked for it on the phone.",
            Context = new Dictionary<string, string>
            {
                ["search_path"] = "\"$user\", public",
                ["role"] = "none",
                ["standard_conforming_strings"] = "on",
                ["DateStyle"] = "ISO, MDY",
                ["TimeZone"] = "Etc/UTC",
                ["transaction"] = "none",
            },
            Timeout = TimeSpan.FromDays(7),
            GrantLifetime = TimeSpan.FromMinutes(10),
        };
        var message = JsonSerializer.SerializeToUtf8Bytes<RequesterMessage>(new AskMessage(spec, person), WorkflowJson.Options);
        var answer = JsonSerializer.Deserialize<ActorAnswer>((await workflows.SendAsync(WorkflowTypes.Requester, person, message, CancellationToken.None)).Span, WorkflowJson.Options)!;
        if (answer is not { Fresh: true, Document.State: WorkflowState.Pending })
        {
            throw new InvalidOperationException($"request {number} was not opened: {answer.Refusal}");
        }
    }

    private sealed class BenchEvidence : IEvidence
    {
        public ValueTask<SpecRequester> RequesterAsync(RequestSpec spec, string assertion, CancellationToken cancellation) => new(new SpecRequester(assertion, assertion + "@example.com", [assertion]));

        public ValueTask CheckSealAsync(RequestSpec spec, string seal, CancellationToken cancellation) => ValueTask.CompletedTask;

        public ValueTask CheckDocumentAsync(string hash, string? seal, CancellationToken cancellation) => ValueTask.CompletedTask;

        public ValueTask<Decider> DeciderAsync(RequestSpec spec, string token, bool groups, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask<ExtensionGrant> ExtensionAsync(string grant, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask<IReadOnlyList<string>> GoneAsync(RequestSpec spec, IEnumerable<string> approvers, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask<string> PersonAsync(string token, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask<string> ServiceAsync(string token, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask<SessionEvidence> SessionAsync(string assertion, CancellationToken cancellation) => throw new NotSupportedException();
    }

    private sealed class BenchSigner(SigningKey key) : IGrantSigner
    {
        public string Seal(RequestSpec spec) => "";

        // As docs/formats/approval-request.md has it.
        public string SealDocument(string hash) => key.Sign("cs-document+jwt", new Dictionary<string, string> { ["iss"] = AppIds.Approval, ["document"] = hash });

        public string Sign(RequestDocument document) => throw new NotSupportedException();
    }

    private sealed class Silence : IEffects<RequestDocument, RequestEffect>, IRefusalReports
    {
        public ValueTask<bool> RunAsync(RequestDocument document, IReadOnlyList<RequestEffect> effects, CancellationToken cancellation) => new(true);

        public ValueTask ReportAsync(string action, RequestDocument document, Refusal refusal) => ValueTask.CompletedTask;

        public ValueTask ForeignDocumentAsync(string workflow) => ValueTask.CompletedTask;
    }
}
