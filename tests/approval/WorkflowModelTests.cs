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
        Gen.Select(Gen.Int[0, 7], Gen.Int[0, 99].Array[4].Array[1, 60]).Sample((kind, script) => Run(kind, script), iter: 8000);

    private static void Run(int variant, int[][] script)
    {
        var world = new World(Spec(variant), bootstrap: variant == 3);
        foreach (var step in script)
        {
            world.Play(step);
        }

        world.Settle();
    }

    private static readonly TimeSpan Length = TimeSpan.FromSeconds(300);
    private static readonly TimeSpan ReviewWithin = TimeSpan.FromSeconds(150);

    // 0 to 2: operations with several quorums; 3: bundle; 4: window; 5: break-glass; 6: a list with one statement twice, and assurance; 7: in effect.
    private static RequestSpec Spec(int variant) => new()
    {
        Id = "apr_model",
        Kind = variant switch { 3 or 7 => WorkflowKind.Bundle, 4 => WorkflowKind.AccessWindow, _ => WorkflowKind.Operation },
        AskedBy = variant is 3 or 7 ? "policy" : "proxy",
        Requester = new SpecRequester("r", "R", ["r", "svc"]),
        Connection = variant is 3 or 7 ? "" : "shop",
        Operations = variant switch
        {
            6 => [new SpecOperation("d0", "DELETE", []), new SpecOperation("d0", "DELETE", []), new SpecOperation("d2", "DELETE", [])],
            _ => [.. Enumerable.Range(0, variant is 1 or 2 ? variant + 1 : 1).Select(index => new SpecOperation($"d{index}", "DELETE", []))],
        },
        Digest = "shown",
        AllOf = variant switch
        {
            1 => [new SpecRequirement(["g1"], 1), new SpecRequirement(["g2"], 1)],
            2 => [new SpecRequirement(["g1", "g2"], 3)],
            3 => [new SpecRequirement(["g1"], 2)],
            _ => [new SpecRequirement(["g1"], 1)],
        },
        Window = variant == 4 ? new SpecWindow(Length, ["SELECT"], ["public.orders"]) : null,
        BreakGlassAllowed = variant is 5 or 6,
        Assurance = variant == 6 ? new SpecAssurance(TimeSpan.FromSeconds(60), ["otp"]) : null,
        InEffect = variant == 7,
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
        private RequestCommand? _executing;
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
            switch (step[0] % 16)
            {
                case 12:
                    Send(new BreakGlass("", Decider(step[1] % 2 == 0 ? 0 : step[1]), step[2] % 7 == 0 ? "other" : "shown", step[3] % 5 == 0 ? " " : "fire"));
                    break;
                case 13:
                    Send(new CloseReview("", Decider(step[1]), step[2] % 5 == 0 ? "other" : "shown", step[2] % 2 == 0, step[3] % 7 == 0 ? "" : "seen"));
                    break;
                case 14:
                    var at = _clock.Now - TimeSpan.FromSeconds(step[1] % 40);
                    Send(new Extend("", new ExtensionGrant(
                        $"e{step[1] % 4}", step[2] % 9 == 0 ? "apr_other" : "apr_model", step[2] % 7 == 0 ? "a" : "r", "shop", step[3] % 9 == 0 ? "other" : "shown", at,
                        at + TimeSpan.FromSeconds(50))));
                    break;
                case 15:
                    Send(new Revoke("", Decider(step[1]), ""));
                    break;
                case 0 or 1 or 2:
                    Send(new Approve(step[3] % 3 == 0 ? $"c{step[2]}" : "", Decider(step[1]) with { Gone = Gone(step) }, step[2] % 10 == 0 ? "other" : "shown", ""));
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
                    _intruder = step[2] % 2 == 0 ? Redeem(step) : new Approve("", Decider(step[1]) with { Gone = Gone(step) }, "shown", "");
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

            for (var round = 0; round < 5; round++)
            {
                _clock.Now += TimeSpan.FromSeconds(400);
                Try(() => _runner.WakeAsync(default));
            }

            if (_stored is null)
            {
                return;
            }

            Assert.True(_stored.IsTerminal);
            Assert.Empty(_stored.Outbox);
            Assert.Null(_wake);
            // What one person did alone is reviewed, or was reported as not reviewed: once.
            Assert.True(_stored.Review is null || !_stored.AwaitsReview || _stored.Review.Overdue, "an unreviewed request that nobody hears of");
            Assert.Equal(_stored.Review?.Overdue == true ? 1 : 0, _published.Values.Count(effect => effect.Action == "request.review-overdue"));
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
            new(new RequestWorkflow(ReviewWithin), this, this, new Wake(), _clock, document => document.NeedsGrant ? document with { Grant = "grant" } : document);

        private void Send(RequestCommand command)
        {
            _sent.Add(command);
            Execute(_runner, command);
        }

        private void Execute(WorkflowRunner<RequestDocument, RequestCommand, RequestEffect> runner, RequestCommand command)
        {
            var outer = _executing;
            _executing = command;
            Try(async ValueTask () =>
            {
                var step = await runner.ExecuteAsync(command, default);
                if (step.Refusal is null && command is Redeem redeem)
                {
                    Granted(redeem, step);
                }
            });
            _executing = outer;
        }

        // I1: whoever is told "go ahead" is the first and only one for that operation, after an approval by others (or alone, where that is allowed).
        private void Granted(Redeem redeem, Step<RequestDocument> step)
        {
            var document = step.Document!;
            if (_spec.Window is null)
            {
                Assert.True(_granted.TryAdd(redeem.Index, redeem.Id) || _granted[redeem.Index] == redeem.Id, "an operation was redeemed twice");
                Assert.True(document.State is WorkflowState.Approved or WorkflowState.Consumed or WorkflowState.Expired);
            }
            else
            {
                Assert.Equal(WorkflowState.Approved, document.State);
                Assert.NotNull(document.WindowBeganAt);
                Assert.True(_clock.Now < document.Deadline, "a window was used after its end");
            }

            Assert.Equal(_spec.Operations[redeem.Index].Digest, redeem.Digest);
            Assert.NotNull(document.ApprovedAt);
            Assert.Equal("grant", document.Grant);
            Assert.True(document.Bootstrap || document.BreakGlass is not null || Quorum.Missing(_spec.AllOf, document.Votes) == 0);
            Assert.Equal(_spec.AskedBy, redeem.Service);
            if (step.Fresh)
            {
                // By those who may still approve when it runs, and for somebody who may still ask. The answer to the same redemption stays the same.
                Assert.True(
                    document.Bootstrap || document.BreakGlass is not null || Quorum.Missing(_spec.AllOf, [.. document.Votes.Where(vote => !redeem.Gone.Contains(vote.Person))]) == 0,
                    "it runs on the word of somebody who may approve no longer");
                Assert.False(!_spec.IsControl && redeem.Gone.Contains("r"), "it runs for somebody who is disabled");
            }
        }

        private void Check(RequestDocument? before, RequestDocument after)
        {
            if (before is not null)
            {
                CheckStep(before, after);
            }

            // I2: no guise of the requester among those who agreed, except the first person alone on a control request.
            Assert.All(after.Votes, vote => Assert.True(!Guises.Contains(vote.Person) || (after.Bootstrap && _bootstrap && vote.Person == "r"), $"{vote.Person} decided"));
            Assert.DoesNotContain(after.Votes, vote => vote.Person is "outsider" or "disabled" or "nogroup");
            Assert.True(_spec.Assurance is null || after.Votes.All(vote => vote.Person != "b"), "a login that is not sure enough decided");
            Assert.False(after.Votes.Any(vote => vote.Approved && vote.Person == "a") && after.Votes.Any(vote => vote.Approved && vote.Person == "a2"), "one human counted twice");
            if (after.Redemptions.Count > (before?.Redemptions.Count ?? 0))
            {
                Assert.Equal(WorkflowState.Approved, before!.State);
                Assert.True(_clock.Now < before.Deadline, "redeemed after the deadline");
            }

            // Alone only where it is allowed, and never without somebody else's look.
            Assert.Equal(after.BreakGlass is not null || _spec.InEffect, after.Review is not null);
            Assert.True(after.BreakGlass is null || (_spec.BreakGlassAllowed && after.BreakGlass.Reason == "fire"), "alone where it is not allowed");
            Assert.False(after.Review?.ClosedBy is "r" or "r2" or "r3" or "svc" or "outsider" or "disabled", "reviewed by the wrong person");
            _history.Add(after);
        }

        private void CheckStep(RequestDocument before, RequestDocument after)
        {
            // Nothing leads out of a terminal state but a revocation, while something may run.
            var ended = before.IsTerminal && before.State != after.State;
            Assert.True(!ended || (after.State == WorkflowState.Revoked && before.State is not (WorkflowState.Denied or WorkflowState.Revoked) && before.MayRun(_clock.Now)), $"{before.State} was left for {after.State}");
            if (after.Version == before.Version + 1)
            {
                Assert.Contains(Transitions.Table, row => row.From == before.State && row.To == after.State);
            }

            Assert.True(after.Version >= before.Version);
            CheckVotes(before.Votes, after);
            Assert.Equal(before.Redemptions, after.Redemptions.Take(before.Redemptions.Count));
            Assert.True(before.Review?.ClosedBy is null || before.Review == after.Review, "a review was changed");

            // A window begins once, and what ends later than before does so by an extension, and by no more than that gives.
            Assert.True(before.WindowBeganAt is null || before.WindowBeganAt == after.WindowBeganAt, "a window began twice");
            Assert.True(_spec.Window is null || after.Redemptions.Count <= 1);
            Assert.Equal(before.Extensions ?? [], (after.Extensions ?? []).Take(before.Extensions?.Count ?? 0));
            Assert.Equal(after.Extensions?.Count ?? 0, after.Extensions?.Select(extension => extension.Request).Distinct().Count() ?? 0);
            if (before.State == WorkflowState.Approved && after.State == WorkflowState.Approved && after.Deadline != before.Deadline)
            {
                var allowed = after.Extensions?.Count > (before.Extensions?.Count ?? 0)
                    ? after.Extensions[^1].Until
                    : _clock.Now + Length;
                Assert.True(after.Deadline == allowed && (after.Deadline > before.Deadline || before.WindowBeganAt is null), "more time than was approved");
                Assert.True(after.Deadline <= _clock.Now + Length, "more time at once than was looked at");
            }
        }

        // Nobody's word is lost but by the next approval, and only that of who could give it no longer; the others stay as they were, in their order.
        private void CheckVotes(IReadOnlyList<Vote> before, RequestDocument after)
        {
            if (before.SequenceEqual(after.Votes.Take(before.Count)) && _executing is not Approve { By.Gone.Count: > 0 })
            {
                return;
            }

            var by = _executing is Approve approve ? approve.By : null;
            var kept = before.Where(vote => by is null || (!by.Gone.Contains(vote.Person) && !by.RequesterSameAs.Contains(vote.Person))).ToList();
            if (by is null || after.Votes.Count == 0 || before.SequenceEqual(after.Votes))
            {
                Assert.Equal(before, after.Votes);
                return;
            }

            Assert.Equal(kept, after.Votes.SkipLast(1));
            Assert.Equal(by.Person, after.Votes[^1].Person);
        }

        private static string[] Gone(int[] step) => ((step[1] + step[2]) % 5) switch
        {
            0 => ["a"],
            1 => step[3] % 2 == 0 ? ["b", "c"] : ["a", "a2"],
            2 => step[3] % 4 == 0 ? ["r"] : [],
            _ => [],
        };

        private Redeem Redeem(int[] step)
        {
            var index = (step[2] % 4) - (step[1] % 7 == 0 ? 1 : 0);
            var person = step[1] % 9 == 0 ? "a" : "r";
            return new Redeem($"x{step[1] % 5}", step[1] % 11 == 0 ? "identity" : _spec.AskedBy, person, step[2] % 13 == 0 ? "other" : _spec.Connection, index, $"d{(step[3] % 17 == 0 ? 9 : index)}")
            {
                Gone = Gone(step),
            };
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
                Amr = person == "b" ? ["pwd"] : ["otp"],
                AuthenticatedAt = _clock.Now,
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
