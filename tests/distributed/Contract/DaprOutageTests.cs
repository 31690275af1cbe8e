using Countersign.Approval.Actors;
using Countersign.Approval.Workflow;
using Countersign.Distributed.Tests.Double;
using Countersign.Fakes.Workflow;
using Countersign.Platform.Ports;

namespace Countersign.Distributed.Tests.Contract;

/// <summary>
/// The same as <see cref="ActorOutageTests"/> with the real placement and scheduler, and sentry, as far as their own behaviour allows: a real sidecar may go on for a while with what it knows, so
/// that what is proved is that nothing is half done or lost, not when it is refused.
/// </summary>
public sealed class DaprOutageTests
{
    [Theory]
    [InlineData("placement")]
    [InlineData("scheduler")]
    [InlineData("sentry")]
    public async Task What_was_asked_for_outlives_the_loss_of_a_part_of_the_control_plane(string part)
    {
        DaprPrograms.SkipWithout();
        var world = new ContractWorld();
        var fleet = await DaprFleet.StartAsync();
        await using var runtime = new ActorRuntime(
            fleet, world, new WorkflowSettings(new RequesterLimits(100, TimeSpan.FromMinutes(1), TimeSpan.FromHours(1)), TimeSpan.FromHours(1), new RequestRetention(null)));
        await runtime.StartAsync();
        var asked = (await runtime.AskAsync(Spec("apr_a", TimeSpan.FromHours(1)))).Document!;
        var brief = (await runtime.AskAsync(Spec("apr_b", TimeSpan.FromSeconds(5)))).Document!;
        await fleet.KillAsync(part);
        try
        {
            await runtime.SendAsync("apr_a", new DecideMessage(true, asked.Spec.Digest, "", "bob"));
        }
        catch (PortUnavailableException)
        {
            // Refused, or done: never in between. Without sentry it is done: running sidecars have their certificates.
            Assert.NotEqual("sentry", part);
        }

        await fleet.StartAgainAsync(part);
        RequestDocument? approved = null;
        await Until.TrueAsync(
            async () =>
            {
                try
                {
                    approved = (await runtime.SendAsync("apr_a", new DecideMessage(true, asked.Spec.Digest, "", "bob"))).Document;
                    return approved?.State == WorkflowState.Approved;
                }
                catch (PortUnavailableException)
                {
                    return false;
                }
            },
            120);
        Assert.Equal(2, approved!.Version);
        Assert.Single(world.Told.Of("apr_a"), action => action == "request.approved");
        // Its wake-up came due meanwhile, or comes due now: none is lost.
        await Until.TrueAsync(() => world.Told.Of(brief.Spec.Id).Contains("request.expired"), 120);
    }

    private static RequestSpec Spec(string id, TimeSpan timeout) => new()
    {
        Id = id,
        Kind = WorkflowKind.Operation,
        AskedBy = "proxy",
        Requester = new SpecRequester("", "", []),
        Connection = "shop",
        Operations = [new SpecOperation(id, "DELETE", [])],
        Digest = id,
        AllOf = [new SpecRequirement(["dba"], 1)],
        Timeout = timeout,
        GrantLifetime = TimeSpan.FromHours(1),
    };
}
