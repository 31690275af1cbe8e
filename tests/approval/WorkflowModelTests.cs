using Countersign.Approval.Workflow;
using CsCheck;

namespace Countersign.Approval.Tests;

/// <summary>Random commands, duplicates, reorderings, clock jumps and crashes against the runner; I1, I2 and that no terminal state is left.</summary>
[Trait("group", "unit")]
public sealed class WorkflowModelTests
{
    private static readonly DateTimeOffset Start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly string[] People = ["r", "r2", "r3", "svc", "a", "a2", "b", "c", "outsider", "disabled", "nogroup"];
    private static readonly string[] Guises = ["r", "r2", "r3", "svc"];

    [Fact]
    public void No_sequence_breaks_the_invariants() =>
        Gen.Select(Gen.Int[0, 3], Gen.Int[0, 99].Array[4].Array[1, 60]).Sample((kind, script) => Run(kind, script), iter: 4000);

    private static void Run(int variant, int[][] script)
    {
        var world = new World(Spec(variant), bootstrap: variant == 3);
        foreach (var step in script)
        {
            world.Play(step);
        }

        world.Settle();
    }

    private static RequestSpec Spec(int variant) => new()
    {
        Id = "apr_model",
        Kind = variant == 3 ? WorkflowKind.Bundle : WorkflowKind.Operation,
        AskedBy = variant == 3 ? "policy" : "proxy",
        Requester = new SpecRequester("r", "R", ["r", "svc"]),
        Connection = variant == 3 ? "" : "shop",
        Operations = [.. Enumerable.Range(0, variant == 3 ? 1 : variant + 1).Select(index => new SpecOperation($"d{index}", "DELETE", []))],
        Digest = "shown",
        AllOf = variant switch
        {
            0 => [new SpecRequirement(["g1"], 1)],
            1 => [new SpecRequirement(["g1"], 1), new SpecRequirement(["g2"], 1)],
            2 => [new SpecRequirement(["g1", "g2"], 3)],
            _ => [new SpecRequirement(["g1"], 2)],
        },
        Timeout = TimeSpan.FromSeconds(100),
        GrantLifetime = TimeSpan.FromSeconds(50),
    };

    /// <summary>A store, a bus and a clock that can fail at any point, with the rules that must hold whatever they do.</summary>
    private sealed class World : IRunnerHost<RequestDocument>, IEffects<RequestDocument, RequestEffect>
    {
        private readonly RequestSpec _spec;
        private readonly bool _bootstrap;
        private readonly ManualClock _clock = new(Start);
        private readonly List<RequestCommand> _sent = [];
        private readonly Dictionary<int, string> _granted = [];
        private readonly Dictionary<string, RequestEffect> _published = [];
        private readonly List<RequestDocument> _history = [];
        private RequestDocument? _stored;
        private int _etag;
        private DateTimeOffset? _wake;
        private int _fault;
        private RequestCommand? _intruder;
        private WorkflowRunner<RequestDocument, RequestCommand, RequestEffect> _runner;

        public World(RequestSpec spec, bool bootstrap)
        {
            _spec = spec;
            _bootstrap = bootstrap;
            _runner = NewRunner();
            Send(new Open("", spec));
        }

        public void Play(int[] step)
        {
            _fault = step[3] % 12;
            switch (step[0] % 12)
            {
                case 0 or 1 or 2:
                    Send(new Approve(step[3] % 3 == 0 ? $"c{step[2]}" : "", Decider(step[1]), step[2] % 10 == 0 ? "other" : "shown", ""));
                    break;
                case 3:
                    Send(new Deny("", Decider(step[1]), step[2] % 3 == 0 ? "other" : "shown", step[2] % 2 == 0 ? "no" : ""));
                    break;
                case 4 or 5 or 6:
                    Send(Redeem(step));
                    break;
                case 7:
                    Send(step[1] % 2 == 0 ? new Withdraw("", People[step[2] % People.Length]) : new Revoke("", Decider(step[2]), ""));
                    break;
                case 8:
                    _clock.Now += TimeSpan.FromSeconds(step[1] - 30);
                    break;
                case 9:
                    if (_sent.Count > 0)
                    {
                        Send(_sent[step[1] % _sent.Count]);
                    }

                    break;
                case 10:
                    Try(() => _runner.WakeAsync(default));
                    break;
                default:
                    // Another process changes it between our load and our save.
                    _intruder = step[2] % 2 == 0 ? Redeem(step) : new Approve("", Decider(step[1]), "shown", "");
                    Send(Redeem([.. step.Reverse()]));
                    _intruder = null;
                    break;
            }
        }

        /// <summary>Everything comes back up: what was saved is told, the clock ends what is open, and nothing wakes for ever.</summary>
        public void Settle()
        {
            _fault = -1;
            _runner = NewRunner();
            if (_stored is not null)
            {
                Assert.True(_stored.IsTerminal || _wake is not null, "an open request that nobody wakes");
            }

            for (var round = 0; round < 3; round++)
            {
                _clock.Now += TimeSpan.FromSeconds(200);
                Try(() => _runner.WakeAsync(default));
            }

            if (_stored is null)
            {
                return;
            }

            Assert.True(_stored.IsTerminal);
            Assert.Empty(_stored.Outbox);
            Assert.Null(_wake);
            Assert.All(Enumerable.Range(1, (int)_stored.Version), version => Assert.Contains($"{_spec.Id}:{version}", _published.Keys));
        }

        public ValueTask<Stored<RequestDocument>?> LoadAsync(CancellationToken cancellation)
        {
            Fail(1);
            return new(_stored is null ? null : new Stored<RequestDocument>(_stored, _etag.ToString(System.Globalization.CultureInfo.InvariantCulture)));
        }

        public ValueTask<bool> SaveAsync(RequestDocument document, string? etag, CancellationToken cancellation)
        {
            Fail(2);
            if (_intruder is { } intruder)
            {
                _intruder = null;
                Execute(NewRunner(), intruder);
            }

            if (etag != (_stored is null ? null : _etag.ToString(System.Globalization.CultureInfo.InvariantCulture)))
            {
                return new(false);
            }

            Check(_stored, document);
            _stored = document;
            _etag++;
            Fail(3);
            return new(true);
        }

        public ValueTask WakeAtAsync(DateTimeOffset when, CancellationToken cancellation)
        {
            Fail(4);
            _wake = when;
            return ValueTask.CompletedTask;
        }

        public ValueTask CancelWakeAsync(CancellationToken cancellation)
        {
            Fail(5);
            _wake = null;
            return ValueTask.CompletedTask;
        }

        public ValueTask<bool> RunAsync(RequestDocument document, IReadOnlyList<RequestEffect> effects, CancellationToken cancellation)
        {
            Fail(6);
            if (_fault == 7)
            {
                return new(false);
            }

            foreach (var effect in effects)
            {
                Assert.True(_stored is not null && effect.Version <= _stored.Version, "an effect before its save");
                var id = $"{document.Spec.Id}:{effect.Version}";
                Assert.Equal(effect, _published.TryGetValue(id, out var earlier) ? earlier : effect);
                _published[id] = effect;
            }

            Fail(8);
            return new(true);
        }

        private WorkflowRunner<RequestDocument, RequestCommand, RequestEffect> NewRunner() =>
            new(new RequestWorkflow(), this, this, new Wake(), _clock, document => document with { Grant = document.State == WorkflowState.Approved ? "grant" : document.Grant });

        private void Send(RequestCommand command)
        {
            _sent.Add(command);
            Execute(_runner, command);
        }

        private void Execute(WorkflowRunner<RequestDocument, RequestCommand, RequestEffect> runner, RequestCommand command) => Try(async ValueTask () =>
        {
            var step = await runner.ExecuteAsync(command, default);
            if (step.Refusal is null && command is Redeem redeem)
            {
                Granted(redeem, step);
            }
        });

        // I1: whoever is told "go ahead" is the first and only one for that operation, after an approval by others.
        private void Granted(Redeem redeem, Step<RequestDocument> step)
        {
            Assert.True(_granted.TryAdd(redeem.Index, redeem.Id) || _granted[redeem.Index] == redeem.Id, "an operation was redeemed twice");
            var document = step.Document!;
            Assert.Equal(_spec.Operations[redeem.Index].Digest, redeem.Digest);
            Assert.True(document.State is WorkflowState.Approved or WorkflowState.Consumed or WorkflowState.Expired);
            Assert.NotNull(document.ApprovedAt);
            Assert.Equal("grant", document.Grant);
            Assert.True(document.Bootstrap || Quorum.Missing(_spec.AllOf, document.Votes) == 0);
            Assert.Equal(_spec.AskedBy, redeem.Service);
        }

        private void Check(RequestDocument? before, RequestDocument after)
        {
            if (before is not null)
            {
                Assert.True(!before.IsTerminal || before.State == after.State || after.State == WorkflowState.Revoked, $"{before.State} was left for {after.State}");
                if (after.Version != before.Version)
                {
                    Assert.Contains(Transitions.Table, row => row.From == before.State && row.To == after.State);
                }

                Assert.True(after.Version >= before.Version);
                Assert.Equal(before.Votes, after.Votes.Take(before.Votes.Count));
                Assert.Equal(before.Redemptions, after.Redemptions.Take(before.Redemptions.Count));
            }

            // I2: no guise of the requester among those who agreed, except the first person alone on a control request.
            Assert.All(after.Votes, vote => Assert.True(!Guises.Contains(vote.Person) || (after.Bootstrap && _bootstrap && vote.Person == "r"), $"{vote.Person} decided"));
            Assert.DoesNotContain(after.Votes, vote => vote.Person is "outsider" or "disabled" or "nogroup");
            Assert.False(after.Votes.Any(vote => vote.Approved && vote.Person == "a") && after.Votes.Any(vote => vote.Approved && vote.Person == "a2"), "one human counted twice");
            if (after.Redemptions.Count > (before?.Redemptions.Count ?? 0))
            {
                Assert.Equal(WorkflowState.Approved, before!.State);
                Assert.True(_clock.Now < before.Deadline, "redeemed after the deadline");
            }

            _history.Add(after);
        }

        private Redeem Redeem(int[] step)
        {
            var index = (step[2] % 4) - (step[1] % 7 == 0 ? 1 : 0);
            var person = step[1] % 9 == 0 ? "a" : "r";
            return new Redeem($"x{step[1] % 5}", step[1] % 11 == 0 ? "identity" : _spec.AskedBy, person, step[2] % 13 == 0 ? "other" : _spec.Connection, index, $"d{(step[3] % 17 == 0 ? 9 : index)}");
        }

        private Decider Decider(int who)
        {
            var person = People[who % People.Length];
            return new Decider
            {
                Person = person,
                Name = person,
                SameAs = person switch { "r2" => ["r2", "r"], "a" => ["a", "a2"], "a2" => ["a2", "a"], _ => [person] },
                Enrolled = person is not "outsider",
                Disabled = person is "disabled",
                Groups = person switch { "nogroup" => ["g9"], "b" => ["g1", "g2"], "c" => ["g2"], _ => ["g1"] },
                BootstrapOpen = _bootstrap && person == "r",
                // What only identity's present links of the requester say.
                RequesterSameAs = ["r", "r3", "svc"],
            };
        }

        private void Try(Func<ValueTask> act)
        {
            try
            {
                act().AsTask().GetAwaiter().GetResult();
            }
            catch (CrashException)
            {
                // The process is gone: another one starts with what was saved.
                _runner = NewRunner();
            }
            finally
            {
                _fault = -1;
            }
        }

        private void Fail(int point)
        {
            if (_fault == point)
            {
                _fault = -1;
                throw new CrashException();
            }
        }
    }

    private sealed class CrashException : Exception;

    private sealed class ManualClock(DateTimeOffset now) : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = now;

        public override DateTimeOffset GetUtcNow() => Now;
    }
}
