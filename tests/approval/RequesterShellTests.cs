using System.Text.Json;
using Countersign.Approval.Actors;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using CsCheck;

namespace Countersign.Approval.Tests;

/// <summary>Asking, with a crash or an unreachable request at every point: never two requests for the same, never one that nobody knows of.</summary>
[Trait("group", "unit")]
public sealed class RequesterShellTests
{
    [Fact]
    public void Asking_again_after_any_failure_finds_the_same_request() =>
        Gen.Select(Gen.Int[0, 2], Gen.Int[0, 6]).Array[1, 25].Sample(script => RunAsync(script).GetAwaiter().GetResult(), iter: 2000);

    private static async Task RunAsync((int What, int Fault)[] script)
    {
        var world = new World();
        var answered = new Dictionary<int, string>();
        for (var number = 0; number < script.Length; number++)
        {
            var (what, fault) = script[number];
            world.Fault = fault;
            var answer = await world.AskAsync($"apr_{number}", what);
            world.Fault = 0;
            if (answer?.Document is { } document)
            {
                Assert.True(answered.TryAdd(what, document.Spec.Id) || answered[what] == document.Spec.Id, "the same was asked twice");
            }
        }

        for (var what = 0; what < 3; what++)
        {
            if (script.All(step => step.What != what))
            {
                continue;
            }

            // Everything works again: there is one request, which is the one that was answered before if any was.
            var answer = await world.AskAsync($"apr_last{what}", what);
            Assert.NotNull(answer?.Document);
            Assert.Equal(answered.GetValueOrDefault(what, answer.Document.Spec.Id), answer.Document.Spec.Id);
            Assert.Single(world.Requests.Values, request => request.Spec.Digest == $"digest{what}");
        }
    }

    private sealed class World : IRunnerHost<RequesterDocument>, IWorkflowHost, IEvidence, IGrantSigner
    {
        private RequesterShell _shell;
        private RequesterDocument? _stored;
        private int _etag;

        public World() => _shell = New();

        public int Fault { get; set; }

        public Dictionary<string, RequestDocument> Requests { get; } = [];

        public async Task<ActorAnswer?> AskAsync(string id, int what)
        {
            var spec = new RequestSpec
            {
                Id = id,
                Kind = WorkflowKind.Operation,
                AskedBy = "proxy",
                Requester = new SpecRequester("", "", []),
                Operations = [new SpecOperation($"d{what}", "DELETE", [])],
                Digest = $"digest{what}",
                AllOf = [new SpecRequirement(["g1"], 1)],
                Timeout = TimeSpan.FromHours(1),
                GrantLifetime = TimeSpan.FromHours(1),
            };
            try
            {
                var json = await _shell.HandleAsync(JsonSerializer.SerializeToUtf8Bytes<RequesterMessage>(new AskMessage(spec, "x"), WorkflowJson.Options), default);
                return JsonSerializer.Deserialize<ActorAnswer>(json, WorkflowJson.Options);
            }
            catch (CrashException)
            {
                _shell = New();
                return null;
            }
        }

        public ValueTask<Stored<RequesterDocument>?> LoadAsync(CancellationToken cancellation) =>
            new(_stored is null ? null : new Stored<RequesterDocument>(_stored, $"{_etag}"));

        public ValueTask<bool> SaveAsync(RequesterDocument document, string? etag, CancellationToken cancellation)
        {
            Crash(1);
            Assert.Equal(_stored is null ? null : $"{_etag}", etag);
            _stored = document;
            _etag++;
            Crash(2);
            return new(true);
        }

        public ValueTask WakeAtAsync(DateTimeOffset when, CancellationToken cancellation) => ValueTask.CompletedTask;

        public ValueTask CancelWakeAsync(CancellationToken cancellation) => ValueTask.CompletedTask;

        public ValueTask<ReadOnlyMemory<byte>> SendAsync(string type, string id, ReadOnlyMemory<byte> message, CancellationToken cancellation)
        {
            var read = JsonSerializer.Deserialize<RequestMessage>(message.Span, WorkflowJson.Options);
            if (Fault == (read is OpenMessage ? 3 : 4))
            {
                throw new PortUnavailableException("down");
            }

            var known = Requests.GetValueOrDefault(id);
            var step = new RequestWorkflow().Apply(known, read is OpenMessage open ? new Open("", open.Spec) : new Wake(), DateTimeOffset.UtcNow);
            if (step.Document is not null)
            {
                Requests[id] = step.Document;
            }

            if (read is OpenMessage)
            {
                Crash(5);
            }

            var answer = read is ObserveMessage && step.Document is { } seen
                ? new ActorAnswer(null, step.Refusal, step.Fresh, DateTimeOffset.UtcNow) { Observation = Observation.Of(seen, DateTimeOffset.UtcNow) }
                : new ActorAnswer(step.Document, step.Refusal, step.Fresh, DateTimeOffset.UtcNow);
            return new(JsonSerializer.SerializeToUtf8Bytes(answer, WorkflowJson.Options));
        }

        public ValueTask<SpecRequester> RequesterAsync(RequestSpec spec, string assertion, CancellationToken cancellation) =>
            Fault == 6 ? throw new PortUnavailableException("down") : new(new SpecRequester("r", "R", ["r"]));

        public ValueTask<Decider> DeciderAsync(RequestSpec spec, string token, bool groups, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask<ExtensionGrant> ExtensionAsync(string grant, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask<IReadOnlyList<string>> GoneAsync(RequestSpec spec, IEnumerable<string> approvers, CancellationToken cancellation) =>
            throw new NotSupportedException();

        public ValueTask<string> PersonAsync(string token, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask<SessionEvidence> SessionAsync(string assertion, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask<string> ServiceAsync(string token, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask CheckSealAsync(RequestSpec spec, string seal, CancellationToken cancellation) => throw new NotSupportedException();

        public ValueTask CheckDocumentAsync(string hash, string? seal, CancellationToken cancellation) => ValueTask.CompletedTask;

        public string SealDocument(string hash) => "written";

        public string Seal(RequestSpec spec) => "sealed";

        public string Sign(RequestDocument document) => throw new NotSupportedException();

        private RequesterShell New() =>
            new("r", this, new RequestParts(this, this, new Countersign.Fakes.Workflow.EffectLog(), TimeProvider.System, this, new Countersign.Fakes.Workflow.EffectLog(), TimeSpan.FromDays(1)), RequesterLimits.Default);

        private void Crash(int point)
        {
            if (Fault == point)
            {
                Fault = 0;
                throw new CrashException();
            }
        }
    }

    private sealed class CrashException : Exception;
}
