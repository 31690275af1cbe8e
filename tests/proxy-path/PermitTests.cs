using System.Reflection;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Path.Hold;

namespace Countersign.Proxy.Path.Tests;

[Trait("group", "unit")]
public sealed class PermitTests
{
    private readonly TextOperation _operation = new("select 1") { Number = 1, Kind = "query" };
    private readonly MemoryRecording.Receipt _receipt = new(1, new Journal(), 1, done: true);

    [Fact]
    public void A_permit_is_good_for_its_operation_once()
    {
        var permit = new Permit(_operation, Decisions.Allow, null, _receipt, MaskPlan.None);
        Assert.Throws<InvalidOperationException>(() => permit.Use(new TextOperation("select 1") { Number = 1, Kind = "query" }));
        var good = new Permit(_operation, Decisions.Allow, null, _receipt, MaskPlan.None);
        good.Use(_operation);
        Assert.Throws<InvalidOperationException>(() => good.Use(_operation));
    }

    [Fact]
    public void No_permit_without_an_allow_or_a_grant()
    {
        Assert.Throws<InvalidOperationException>(() => new Permit(_operation, Decisions.Deny, null, _receipt, MaskPlan.None));
        Assert.Throws<InvalidOperationException>(() => new Permit(_operation, Decisions.Hold(), null, _receipt, MaskPlan.None));
        Assert.Throws<ArgumentNullException>(() => new Permit(_operation, Decisions.Allow, null, null!, MaskPlan.None));
    }

    [Fact]
    public void Proofs_are_classes_that_only_this_assembly_makes()
    {
        foreach (var type in new[] { typeof(Permit), typeof(RedeemedGrant), typeof(Record.RecordReceipt) })
        {
            Assert.True(type.IsClass);
            Assert.DoesNotContain(
                type.GetConstructors(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance),
                constructor => constructor.IsPublic || constructor.IsFamily || constructor.IsFamilyOrAssembly);
        }
    }

    [Fact]
    public void Outcomes_are_ordered_by_strictness() =>
        Assert.True(Outcome.Deny > Outcome.RequireApproval && Outcome.RequireApproval > Outcome.Allow);
}
