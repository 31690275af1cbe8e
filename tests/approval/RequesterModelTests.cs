using Countersign.Approval.Workflow;
using CsCheck;

namespace Countersign.Approval.Tests;

/// <summary>One person who asks for anything, again and again: limits, merging, lists and the back-off hold in every order.</summary>
[Trait("group", "unit")]
public sealed class RequesterModelTests
{
    private static readonly DateTimeOffset Start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly RequesterLimits Limits = new(3, TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(60));
    private static readonly string[][] Asks = [["a"], ["b"], ["a", "b"], ["a", "a", "b"], ["b", "a", "b", "a"], ["c"]];

    [Fact]
    public void No_order_of_asking_breaks_the_limits() =>
        Gen.Int[0, 99].Array[3].Array[1, 60].Sample(
            script =>
            {
                var world = new World();
                foreach (var step in script)
                {
                    world.Play(step);
                }
            },
            iter: 3000);

    /// <summary>Seed cRxJDSNw3Kv6 of the test above.</summary>
    [Fact]
    public void Of_two_requests_for_the_same_the_later_denial_counts_in_whatever_order_they_were_asked()
    {
        var world = new World();
        world.Play([0, 5, 7]); // c, for two persons
        world.Play([0, 5, 5]); // c, with a login by otp: on other terms, and so another request
        world.Play([4, 1, 0]); // the second one is denied,
        world.Play([5, 9, 0]); // 9 s later
        world.Play([4, 0, 0]); // the first one,
        world.Play([5, 9, 0]); // and 9 s later it is asked for again: refused
        world.Play([0, 5, 1]);
        Assert.Equal((2, 0), world.Made);
    }

    [Fact]
    public void A_back_off_doubles_and_is_bounded()
    {
        Assert.Equal([10, 20, 40, 60, 60], Enumerable.Range(1, 5).Select(count => (int)Limits.After(count).TotalSeconds));
        Assert.Equal(TimeSpan.FromSeconds(60), Limits.After(int.MaxValue));
        Assert.Equal(TimeSpan.Zero, new RequesterLimits(5, TimeSpan.Zero, TimeSpan.FromHours(1)).After(9));
    }

    private sealed class World
    {
        private readonly Dictionary<string, RequestDocument> _requests = [];
        private readonly List<(string Key, DateTimeOffset At)> _denials = [];
        private RequesterDocument? _document;
        private DateTimeOffset _now = Start;
        private int _number;

        /// <summary>How many there were, and how many are open.</summary>
        public (int All, int Open) Made => (_requests.Count, _requests.Values.Count(request => !request.IsTerminal));

        public void Play(int[] step)
        {
            var open = _requests.Values.Where(request => !request.IsTerminal).ToList();
            switch (step[0] % 6)
            {
                case 0 or 1 or 2:
                    Ask(Asks[step[1] % Asks.Length], step[2]);
                    break;
                case 3 when open.Count > 0:
                    Apply(open[step[1] % open.Count], new Approve("", By("x"), "", ""));
                    break;
                case 4 when open.Count > 0:
                    var request = open[step[1] % open.Count];
                    if (step[2] % 3 == 0)
                    {
                        Apply(request, new Deny("", By("x"), request.Spec.Digest, "no"));
                    }
                    else
                    {
                        Apply(request, new Approve("", By("x"), request.Spec.Digest, ""));
                        Apply(_requests[request.Spec.Id], new Redeem($"r{_number++}", "proxy", "r", "shop", request.Redemptions.Count, request.Spec.Operations[request.Redemptions.Count].Digest));
                    }

                    break;
                default:
                    _now += TimeSpan.FromSeconds(step[1] % 30);
                    break;
            }
        }

        private void Ask(string[] digests, int variant)
        {
            var spec = new RequestSpec
            {
                Id = $"apr_{_number++}",
                Kind = WorkflowKind.Operation,
                AskedBy = "proxy",
                Requester = new SpecRequester("r", "R", ["r"]),
                Connection = "shop",
                Operations = [.. digests.Select(digest => new SpecOperation(digest, "", []))],
                Digest = string.Join('+', digests),
                AllOf = [new SpecRequirement(["g1"], variant % 7 == 0 ? 2 : 1)],
                Assurance = variant % 5 == 0 ? new SpecAssurance(null, ["otp"]) : null,
                Timeout = TimeSpan.FromHours(1),
                GrantLifetime = TimeSpan.FromHours(1),
            };
            var observed = _requests.Values.Select(request => Observation.Of(request, _now)).ToList();
            var step = new RequesterWorkflow(Limits).Apply(_document, new Ask(spec, observed), _now);
            var pending = _requests.Values.Count(request => request.StateAt(_now) == WorkflowState.Pending);
            if (step.Refusal is { } refusal)
            {
                Assert.False(step.Changed);
                Assert.True(refusal.RetryAfter > TimeSpan.Zero && refusal.RetryAfter <= Limits.MaxBackOff);
                Assert.True(
                    refusal.Code == RefusalCodes.TooManyPending ? pending >= Limits.MaxPending : _denials.Any(denial => denial.Key == spec.Digest && denial.At + Limits.MaxBackOff > _now),
                    $"refused with {refusal.Code} for nothing");
                return;
            }

            if (step.Fresh)
            {
                Assert.True(pending < Limits.MaxPending, "too many at once");
                Assert.DoesNotContain(_denials, denial => denial.Key == spec.Digest && denial.At + Limits.BackOff > _now);
                _document = step.Document;
                Assert.Equal(spec.Id, RequesterWorkflow.Find(_document!, spec, observed)!.Request);
                _requests[spec.Id] = new RequestWorkflow().Apply(null, new Open("", spec), _now).Document!;
                return;
            }

            // What is attached to is open, asks for no less, and comes next in it.
            var found = RequesterWorkflow.Find(step.Document!, spec, observed)!;
            var request = _requests[found.Request];
            Assert.Contains(request.StateAt(_now), new[] { WorkflowState.Pending, WorkflowState.Approved });
            Assert.Equal(request.Redemptions.Count, found.Index);
            Assert.Equal(digests, request.Spec.Operations.Skip(found.Index).Take(digests.Length).Select(operation => operation.Digest));
            Assert.True(Quorum.Covers(request.Spec.AllOf, spec.AllOf) && Eligibility.Covers(request.Spec.Assurance, spec.Assurance), "attached to weaker terms");
        }

        private void Apply(RequestDocument request, RequestCommand command)
        {
            var step = new RequestWorkflow().Apply(request, command, _now);
            _requests[request.Spec.Id] = step.Document!;
            if (step is { Fresh: true, Document.State: WorkflowState.Denied })
            {
                _denials.Add((request.Spec.Digest, _now));
            }
        }

        private Decider By(string person) => new()
        {
            Person = person,
            Name = person,
            SameAs = [person],
            Enrolled = true,
            Disabled = false,
            Groups = ["g1"],
            Amr = ["otp"],
            AuthenticatedAt = _now,
        };
    }
}
