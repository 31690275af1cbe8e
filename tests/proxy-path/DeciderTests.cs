using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Path.Tests;

[Trait("group", "unit")]
public sealed class DeciderTests
{
    private const string Reads = """
        apiVersion: countersign/v1
        kind: Policy
        name: starter
        rules:
          - name: reads
            effect: allow
            when:
              statements: [SELECT]
        """;

    private const string NoReads = """
        apiVersion: countersign/v1
        kind: Policy
        name: starter
        rules:
          - name: no-reads
            effect: deny
            when:
              statements: [SELECT]
        """;

    private static readonly DateTimeOffset Now = new(2026, 11, 24, 12, 0, 0, TimeSpan.Zero);

    private readonly Bundles _bundles = new();
    private readonly PathSession _session = Sessions.Make(new MemoryRecording(new Journal()));

    [Fact]
    public void Without_a_bundle_everything_is_denied()
    {
        var (decision, _) = new Decider(_bundles).Decide(_session, Understood("SELECT"), Now);
        Assert.Equal(Outcome.Deny, decision.Outcome);
    }

    [Fact]
    public void The_same_facts_get_the_same_decision_object_until_another_bundle_comes()
    {
        _bundles.Use(1, Reads);
        var decider = new Decider(_bundles);
        var understood = Understood("SELECT");
        var first = decider.Decide(_session, understood, Now).Decision;
        Assert.Equal(Outcome.Allow, first.Outcome);
        Assert.Same(first, decider.Decide(_session, understood, Now).Decision);

        _bundles.Use(2, NoReads);
        var second = decider.Decide(_session, understood, Now).Decision;
        Assert.Equal(Outcome.Deny, second.Outcome);
        Assert.Equal(2, second.BundleVersion);
    }

    [Fact]
    public void More_facts_than_the_cache_holds_are_still_decided_right()
    {
        _bundles.Use(1, Reads);
        var decider = new Decider(_bundles);
        for (var number = 0; number < 1000; number++)
        {
            Assert.Equal(Outcome.Allow, decider.Decide(_session, Understood("SELECT"), Now).Decision.Outcome);
            Assert.Equal(Outcome.Deny, decider.Decide(_session, Understood("DELETE"), Now).Decision.Outcome);
        }
    }

    [Theory]
    [InlineData("filters", Outcome.Deny)]
    [InlineData("launders", Outcome.Deny)]
    [InlineData("unmaskable", Outcome.Deny)]
    [InlineData("throws", Outcome.Deny)]
    [InlineData("rewrites", Outcome.Allow)]
    public void What_gets_around_a_mask_makes_the_answer_stricter(string what, Outcome expected)
    {
        _bundles.Use(1, Reads);
        var understood = Understood("SELECT") with { Masking = new Analysis(what) };
        var (decision, _) = new Decider(_bundles).Decide(_session, understood, Now);
        Assert.Equal(expected, decision.Outcome);
        Assert.Equal(expected == Outcome.Deny, decision.Message.Length > 0);
    }

    private static UnderstoodOperation Understood(string kind) => new(
        new OperationFacts
        {
            Protocol = "postgres",
            Grammar = "test",
            Statements = [new StatementFacts { Kinds = [kind], ReadOnly = kind == "SELECT" }],
        },
        kind, [], new Analysis("none"));

    private sealed class Bundles : IBundleSource
    {
        public BundleInForce? Current { get; private set; }

        public void Use(long version, string yaml)
        {
            var connection = new Connection { Name = "demo", Protocol = "postgres", Host = "127.0.0.1", Port = 5432, Database = "demo", Tls = "disable" };
            var bundle = new Bundle { Version = version, CreatedAt = Now, Documents = [new BundleDocument("starter.yaml", yaml)], Connections = [connection] };
            Current = new BundleInForce(PolicyEngine.Compile(bundle), bundle.Connections.ToDictionary(each => each.Name));
        }
    }

    private sealed class Analysis(string what) : IMaskAnalysis
    {
        public MaskPlan Plan(Obligations obligations) => what switch
        {
            "throws" => throw new InvalidOperationException("planner"),
            "none" => MaskPlan.None,
            _ => new OnePlan(what),
        };
    }

    private sealed class OnePlan(string what) : MaskPlan
    {
        public override bool IsNone => false;

        public override string? FiltersOn => what == "filters" ? "customers.ssn" : null;

        public override string? Launders => what == "launders" ? "customers.ssn" : null;

        public override string? Unmaskable => what == "unmaskable" ? "pg_stats" : null;
    }
}
