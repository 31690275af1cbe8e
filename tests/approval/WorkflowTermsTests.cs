using System.Text.Json;
using Countersign.Approval.Workflow;

namespace Countersign.Approval.Tests;

/// <summary>Assurance, windows, break-glass and its review, extension and revocation, as the pure workflow has them.</summary>
[Trait("group", "unit")]
public sealed class WorkflowTermsTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Fact]
    public void A_document_of_before_loads_with_nothing_new_asked()
    {
        const string Before = """
            {"format":1,"version":2,"spec":{"id":"apr_x","kind":"operation","askedBy":"proxy","requester":{"person":"r","name":"R","sameAs":["r"]},"connection":"shop","database":"","operations":[{"digest":"d0","text":"DELETE","parameters":[]}],"digest":"shown","allOf":[{"anyOf":["g1"],"quorum":1}],"rules":[],"message":"","reason":"why","reasonRequired":false,"bundleVersion":0,"context":{},"transaction":[],"timeout":"00:01:40","grantLifetime":"00:00:50"},"state":"approved","createdAt":"2026-01-01T00:00:00+00:00","deadline":"2026-01-01T00:00:50+00:00","approvedAt":"2026-01-01T00:00:00+00:00","bootstrap":false,"votes":[{"person":"a","name":"A","sameAs":["a"],"groups":["g1"],"approved":true,"at":"2026-01-01T00:00:00+00:00","comment":""}],"redemptions":[],"grant":"jws","seen":[],"outbox":[]}
            """;
        var document = JsonSerializer.Deserialize<RequestDocument>(Before, WorkflowJson.Options)!;
        Assert.Equal(Before, JsonSerializer.Serialize(document, WorkflowJson.Options));
        Assert.False(document.Spec.BreakGlassAllowed || document.Spec.InEffect || document.AwaitsReview);
        Assert.Equal(WorkflowState.Consumed, Good(document, new Redeem("x", "proxy", "r", "shop", 0, "d0")).State);
        const string Requester = """{"format":1,"version":3,"person":"r","entries":[],"denials":[{"key":"k","at":"2026-01-01T00:00:00+00:00"}],"outbox":[]}""";
        Assert.Equal(1, Assert.Single(JsonSerializer.Deserialize<RequesterDocument>(Requester, WorkflowJson.Options)!.Denials).Count);
    }

    [Fact]
    public void What_is_new_in_the_persisted_form_is_frozen()
    {
        var spec = Spec() with
        {
            Kind = WorkflowKind.AccessWindow,
            Window = new SpecWindow(TimeSpan.FromHours(1), ["SELECT"], ["public.orders"]),
            Assurance = new SpecAssurance(TimeSpan.FromMinutes(15), ["otp"]),
            BreakGlassAllowed = true,
            InEffect = true,
            Extends = "apr_y",
            Impact = new SpecImpact(["write public.orders"], 7, ["locks"], new SpecDryRun(1, ["id"], [["1"]], [[null]])),
        };
        const string Frozen = """
            "assurance":{"maxAge":"00:15:00","amr":["otp"]},"window":{"length":"01:00:00","statements":["SELECT"],"relations":["public.orders"]},"breakGlassAllowed":true,"impact":{"relations":["write public.orders"],"estimatedRows":7,"notes":["locks"],"dryRun":{"rows":1,"columns":["id"],"before":[["1"]],"after":[[null]]}},"inEffect":true,"extends":"apr_y"}
            """;
        Assert.EndsWith(Frozen, JsonSerializer.Serialize(spec, WorkflowJson.Options), StringComparison.Ordinal);
        var document = Open(Spec()) with
        {
            WindowBeganAt = Now,
            BreakGlass = new BreakGlassUse("fire", Now),
            Review = new Review(Now) { Overdue = true, ClosedBy = "a", ClosedByName = "A", ClosedAt = Now, Justified = true, Comment = "ok" },
            Revocation = new Revocation("a", "A", Now, "stop"),
            Extensions = [new Extension("apr_e", Now, Now)],
        };
        const string Rest = """
            "windowBeganAt":"2026-01-01T00:00:00+00:00","breakGlass":{"reason":"fire","at":"2026-01-01T00:00:00+00:00"},"review":{"dueAt":"2026-01-01T00:00:00+00:00","overdue":true,"closedBy":"a","closedByName":"A","closedAt":"2026-01-01T00:00:00+00:00","justified":true,"comment":"ok"},"revocation":{"person":"a","name":"A","at":"2026-01-01T00:00:00+00:00","comment":"stop"},"extensions":[{"request":"apr_e","until":"2026-01-01T00:00:00+00:00","at":"2026-01-01T00:00:00+00:00"}],"seen"
            """;
        Assert.Contains(Rest, JsonSerializer.Serialize(document, WorkflowJson.Options), StringComparison.Ordinal);
        Assert.Equal(
            "\"operation\" \"bundle\" \"enrolment\" \"access_window\" \"identity_link\" \"key\"",
            string.Join(' ', Enum.GetValues<WorkflowKind>().Select(kind => JsonSerializer.Serialize(kind))));
    }

    [Theory]
    [InlineData(0, "otp pwd", null)]
    [InlineData(899, "otp", null)]
    [InlineData(904, "otp", null)]
    [InlineData(906, "otp", "older than 900 s")]
    [InlineData(0, "pwd", "without otp")]
    [InlineData(5000, "", "without otp, and it is older than 900 s")]
    public void An_approver_needs_the_login_that_is_asked_for(int age, string amr, string? problem)
    {
        var document = Open(Spec() with { Assurance = new SpecAssurance(TimeSpan.FromSeconds(900), ["otp"]) });
        var by = By("a") with { AuthenticatedAt = Now - TimeSpan.FromSeconds(age), Amr = amr.Split(' ', StringSplitOptions.RemoveEmptyEntries) };
        foreach (RequestCommand command in new RequestCommand[] { new Approve("", by, "shown", ""), new Deny("", by, "shown", "no") })
        {
            var step = Apply(document, command);
            if (problem is null)
            {
                Assert.Null(step.Refusal);
                continue;
            }

            Assert.Equal((RefusalCodes.AssuranceTooLow, false), (step.Refusal?.Code, step.Changed));
            Assert.Contains(problem, step.Refusal!.Message, StringComparison.Ordinal);
            Assert.Contains("Log in again with otp", step.Refusal.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_window_runs_from_its_first_use_exactly_as_long_as_was_approved()
    {
        var approved = Good(Open(WindowSpec()), new Approve("", By("a"), "shown", ""));
        Assert.False(approved.NeedsGrant);
        Assert.Equal(RefusalCodes.DigestMismatch, Apply(approved, Use("u", digest: "d1")).Refusal?.Code);
        Assert.Equal(RefusalCodes.OutOfOrder, Apply(approved, Use("u", index: 1)).Refusal?.Code);
        Assert.Equal(RefusalCodes.NotExecutor, Apply(approved, Use("u") with { Person = "a" }).Refusal?.Code);
        Assert.Equal(RefusalCodes.WrongConnection, Apply(approved, Use("u") with { Connection = "other" }).Refusal?.Code);
        Assert.Equal(RefusalCodes.WrongState, Apply(approved, Use("u") with { Gone = ["a"] }).Refusal?.Code);

        var began = Good(approved, Use("u1"), 40);
        Assert.Equal((Now + S(40), Now + S(3640), WorkflowState.Approved), (began.WindowBeganAt!.Value, began.Deadline, began.State));
        Assert.True(began.NeedsGrant);
        Assert.Equal(Now + S(3640), began.WakeAt);
        foreach (var id in new[] { "u1", "u2" })
        {
            var again = Apply(began, Use(id), 3600);
            Assert.Equal((false, false), (again.Changed, again.Refusal is not null));
        }

        Assert.Equal(RefusalCodes.Expired, Apply(began, Use("u1"), 3640).Refusal?.Code);
        Assert.Equal(WorkflowState.Expired, Apply(began, new Wake(), 3640).Document!.State);
        // Not begun in time it never begins.
        Assert.Equal(RefusalCodes.Expired, Apply(approved, Use("u"), 50).Refusal?.Code);
        var revoked = Good(began, new Revoke("", By("a"), "stop"), 100);
        Assert.Equal(RefusalCodes.WrongState, Apply(revoked, Use("u1"), 101).Refusal?.Code);
    }

    [Fact]
    public void Going_ahead_alone_is_the_requesters_with_a_reason_where_it_is_allowed()
    {
        var document = Open(Spec() with { BreakGlassAllowed = true, Assurance = new SpecAssurance(null, ["otp"]) });
        var sure = By("r") with { Amr = ["otp"] };
        void Refused(string code, RequestDocument from, BreakGlass command)
        {
            var step = Apply(from, command);
            Assert.Equal((code, false), (step.Refusal?.Code, step.Changed));
        }

        Refused(RefusalCodes.NotRequester, document, new BreakGlass("", By("a") with { Amr = ["otp"] }, "shown", "fire"));
        Refused(RefusalCodes.NotRequester, document, new BreakGlass("", sure with { Person = "r2", SameAs = ["r", "r2"] }, "shown", "fire"));
        Refused(RefusalCodes.BreakGlassNotAllowed, Open(Spec()), new BreakGlass("", sure, "shown", "fire"));
        Refused(RefusalCodes.BreakGlassNotAllowed, document, new BreakGlass("", sure with { Human = false }, "shown", "fire"));
        Refused(RefusalCodes.PersonDisabled, document, new BreakGlass("", sure with { Disabled = true }, "shown", "fire"));
        Refused(RefusalCodes.ReasonRequired, document, new BreakGlass("", sure, "shown", " "));
        Refused(RefusalCodes.DigestMismatch, document, new BreakGlass("", sure, "other", "fire"));
        Refused(RefusalCodes.AssuranceTooLow, document, new BreakGlass("", By("r"), "shown", "fire"));

        // Enrolment doesn't matter: it is about who asks.
        var alone = Good(document, new BreakGlass("", sure with { Enrolled = false }, "shown", "fire"));
        Assert.Equal((WorkflowState.Approved, "fire", true), (alone.State, alone.BreakGlass!.Reason, alone.NeedsGrant));
        Assert.Equal(Now + TimeSpan.FromDays(1), alone.Review!.DueAt);
        Assert.Empty(alone.Votes);
        Assert.Equal("request.break-glass", Assert.Single(alone.Outbox).Action);
        Assert.False(Apply(alone, new BreakGlass("", sure, "shown", "fire")).Changed);
        Refused(RefusalCodes.WrongState, Good(document, new Withdraw("", "r")), new BreakGlass("", sure, "shown", "fire"));
        Assert.Equal(WorkflowState.Consumed, Good(alone, new Redeem("x", "proxy", "r", "shop", 0, "d0")).State);
    }

    [Fact]
    public void A_review_is_closed_once_by_somebody_else_and_told_once_where_it_is_late()
    {
        var alone = Good(Open(Spec() with { BreakGlassAllowed = true }), new BreakGlass("", By("r"), "shown", "fire"));
        var consumed = Good(alone, new Redeem("x", "proxy", "r", "shop", 0, "d0"));
        Assert.Equal(alone.Review!.DueAt, consumed.WakeAt);

        Assert.Equal(RefusalCodes.SelfApproval, Apply(consumed, Close("r")).Refusal?.Code);
        Assert.Equal(RefusalCodes.SelfApproval, Apply(consumed, new CloseReview("", By("r2") with { SameAs = ["r2", "r"] }, "shown", true, "ok")).Refusal?.Code);
        Assert.Equal(RefusalCodes.NotEnrolled, Apply(consumed, new CloseReview("", By("a") with { Enrolled = false }, "shown", true, "ok")).Refusal?.Code);
        Assert.Equal(RefusalCodes.PersonDisabled, Apply(consumed, new CloseReview("", By("a") with { Disabled = true }, "shown", true, "ok")).Refusal?.Code);
        Assert.Equal(RefusalCodes.DigestMismatch, Apply(consumed, new CloseReview("", By("a"), "other", true, "ok")).Refusal?.Code);
        Assert.Equal(RefusalCodes.CommentRequired, Apply(consumed, new CloseReview("", By("a"), "shown", true, "")).Refusal?.Code);
        Assert.Equal(RefusalCodes.NoReview, Apply(Open(Spec()), Close("a")).Refusal?.Code);

        var day = (int)TimeSpan.FromDays(1).TotalSeconds;
        var late = Good(consumed, new Wake(), day);
        Assert.Equal("request.review-overdue", Assert.Single(late.Outbox).Action);
        Assert.Null(late.WakeAt);
        Assert.False(Apply(late, new Wake(), day + 1).Changed);

        var closed = Good(late, Close("a"), day + 2);
        Assert.Equal(("a", true, "seen", WorkflowState.Consumed), (closed.Review!.ClosedBy, closed.Review.Justified, closed.Review.Comment, closed.State));
        Assert.Equal(consumed.Deadline, closed.Deadline);
        Assert.False(Apply(closed, Close("a"), day + 3).Changed);
        Assert.Equal(RefusalCodes.NoReview, Apply(closed, Close("b"), day + 3).Refusal?.Code);
    }

    [Fact]
    public void Passing_both_deadlines_at_once_is_told_as_both()
    {
        var alone = Good(Open(Spec() with { BreakGlassAllowed = true }), new BreakGlass("", By("r"), "shown", "fire"));
        var step = Apply(alone, Close("a"), 100_000);
        Assert.Equal(["request.expired", "request.review-overdue", "request.reviewed"], step.Document!.Outbox.Select(effect => effect.Action));
        Assert.Equal([3L, 4L, 5L], step.Document.Outbox.Select(effect => effect.Version));
        Assert.Equal((WorkflowState.Expired, Now + S(50), 5L), (step.Document.State, step.Document.Deadline, step.Document.Version));
    }

    [Fact]
    public void What_is_in_effect_is_born_with_its_review()
    {
        var removal = Open(Spec() with { Kind = WorkflowKind.Enrolment, AskedBy = "identity", Connection = "", InEffect = true });
        Assert.Equal((WorkflowState.Consumed, true, true), (removal.State, removal.AwaitsReview, removal.NeedsGrant));
        Assert.Equal(removal.Review!.DueAt, removal.WakeAt);
        Assert.Equal(RefusalCodes.WrongState, Apply(removal, new Revoke("", By("a"), "")).Refusal?.Code);
        Assert.Equal(RefusalCodes.WrongState, Apply(removal, new Approve("", By("a"), "shown", "")).Refusal?.Code);
        Assert.Equal(RefusalCodes.AlreadyRedeemed, Apply(removal, new Redeem("x", "identity", "", "", 0, "d0")).Refusal?.Code);
        Assert.False(Good(removal, Close("a")).AwaitsReview);
    }

    [Fact]
    public void A_revocation_ends_what_may_still_run()
    {
        var approved = Good(Open(Spec(2)), new Approve("", By("a"), "shown", ""));
        var half = Good(approved, new Redeem("x", "proxy", "r", "shop", 0, "d0"));
        var hours = (int)RequestDocument.MaxRun.TotalSeconds;
        foreach (var from in new[] { half, Good(half, new Redeem("y", "proxy", "r", "shop", 1, "d1")), Good(half, new Withdraw("", "r")), Good(half, new Wake(), 50) })
        {
            var revoked = Good(from, new Revoke("", By("a"), "stop"), hours - 1);
            Assert.Equal((WorkflowState.Revoked, "request.revoked"), (revoked.State, revoked.Outbox[^1].Action));
            Assert.Equal(RefusalCodes.WrongState, Apply(revoked, new Redeem("x", "proxy", "r", "shop", 0, "d0"), hours).Refusal?.Code);
            Assert.NotNull(Apply(from, new Revoke("", By("a"), "stop"), hours).Refusal);
            Assert.Equal(WorkflowState.Revoked, Good(from, new Revoke("", By("r") with { Enrolled = false }, "mine"), 51).State);
            Assert.Equal(RefusalCodes.NotEnrolled, Apply(from, new Revoke("", By("o") with { Enrolled = false }, ""), 51).Refusal?.Code);
        }

        Assert.NotNull(Apply(Good(approved, new Withdraw("", "r")), new Revoke("", By("a"), "")).Refusal);
        Assert.NotNull(Apply(Good(Open(Spec()), new Deny("", By("a"), "shown", "no")), new Revoke("", By("a"), "")).Refusal);
        var bundle = Spec() with { Kind = WorkflowKind.Bundle, AskedBy = "policy", Connection = "" };
        var inForce = Good(Good(Open(bundle), new Approve("", By("a"), "shown", "")), new Redeem("x", "policy", "", "", 0, "d0"));
        Assert.Equal(RefusalCodes.WrongState, Apply(inForce, new Revoke("", By("a"), "")).Refusal?.Code);
    }

    [Fact]
    public void An_extension_gives_time_from_its_approval_on_once()
    {
        var approved = Good(Open(Spec()), new Approve("", By("a"), "shown", "")) with { Grant = "old" };
        var more = new ExtensionGrant("apr_e", "apr_x", "r", "shop", "shown", Now + S(30), Now + S(90));
        var extended = Good(approved, new Extend("", more), 31);
        Assert.Equal((Now + S(90), true), (extended.Deadline, extended.NeedsGrant));
        Assert.False(Apply(extended, new Extend("", more), 32).Changed);
        // Out of order and overlapping: the later end counts, whatever comes first.
        var third = Good(extended, new Extend("", more with { Request = "apr_f", Until = Now + S(70) }), 33);
        Assert.Equal((Now + S(90), 2), (third.Deadline, third.Extensions!.Count));

        void Refused(RequestDocument from, ExtensionGrant grant, int at = 31) =>
            Assert.Equal((RefusalCodes.NotExtendable, false), (Apply(from, new Extend("", grant), at).Refusal?.Code, Apply(from, new Extend("", grant), at).Changed));
        Refused(approved, more with { Extends = "apr_z" });
        Refused(approved, more with { Person = "a" });
        Refused(approved, more with { Connection = "other" });
        Refused(approved, more with { Digest = "other" });
        Refused(approved, more with { Until = Now + S(31) });
        Refused(Open(Spec()), more);
        Refused(Good(approved, new Revoke("", By("a"), "")), more);
        Refused(Good(Open(Spec() with { BreakGlassAllowed = true }), new BreakGlass("", By("r"), "shown", "fire")), more);
        Assert.Equal(RefusalCodes.NotExtendable, Apply(approved, new Extend("", more), 50).Refusal?.Code);

        var window = Good(Good(Open(WindowSpec()), new Approve("", By("a"), "shown", "")), Use("u"), 10);
        Assert.Equal(Now + S(3610), window.Deadline);
        Assert.Equal(Now + S(3000 + 3600), Good(window, new Extend("", more with { ApprovedAt = Now + S(3000), Until = Now + S(3050) }), 3001).Deadline);
    }

    [Fact]
    public void Nothing_is_redeemed_under_an_extension_itself()
    {
        var asked = Open(Spec() with { Extends = "apr_y" });
        var over = Apply(asked, new Approve("", By("a"), "shown", "") { ExtensionRefused = new Refusal(RefusalCodes.NotExtendable, "over") });
        Assert.Equal((RefusalCodes.NotExtendable, false), (over.Refusal?.Code, over.Changed));
        var approved = Good(asked, new Approve("", By("a"), "shown", ""));
        Assert.Equal((WorkflowState.Consumed, Transitions.ExtensionApproved, true), (approved.State, approved.Outbox[^1].Action, approved.NeedsGrant));
        Assert.Equal(RefusalCodes.AlreadyRedeemed, Apply(approved, new Redeem("x", "proxy", "r", "shop", 0, "d0")).Refusal?.Code);
        Assert.Equal(RefusalCodes.NotExtendable, RequestWorkflow.CheckExtension(asked, "r", "shop", "shown")?.Code);
    }

    [Fact]
    public void A_disabled_requester_redeems_nothing()
    {
        var approved = Good(Open(Spec()), new Approve("", By("a"), "shown", ""));
        Assert.Equal(RefusalCodes.PersonDisabled, Apply(approved, new Redeem("x", "proxy", "r", "shop", 0, "d0") { Gone = ["r"] }).Refusal?.Code);
    }

    internal static RequestSpec Spec(int count = 1) => new()
    {
        Id = "apr_x",
        Kind = WorkflowKind.Operation,
        AskedBy = "proxy",
        Requester = new SpecRequester("r", "R", ["r"]),
        Connection = "shop",
        Operations = [.. Enumerable.Range(0, count).Select(index => new SpecOperation($"d{index}", "DELETE", []))],
        Digest = "shown",
        AllOf = [new SpecRequirement(["g1"], 1)],
        Reason = "why",
        Timeout = S(100),
        GrantLifetime = S(50),
    };

    private static RequestSpec WindowSpec() => Spec() with
    {
        Kind = WorkflowKind.AccessWindow,
        Window = new SpecWindow(TimeSpan.FromHours(1), ["SELECT"], ["public.orders"]),
    };

    private static TimeSpan S(int seconds) => TimeSpan.FromSeconds(seconds);

    private static Redeem Use(string id, int index = 0, string digest = "d0") => new(id, "proxy", "r", "shop", index, digest);

    private static CloseReview Close(string person) => new("", By(person), "shown", true, "seen");

    private static Decider By(string person) =>
        new() { Person = person, Name = person.ToUpperInvariant(), SameAs = [person], Enrolled = true, Disabled = false, Groups = ["g1"], AuthenticatedAt = Now };

    private static Step<RequestDocument> Apply(RequestDocument? document, RequestCommand command, int after = 0) => new RequestWorkflow().Apply(document, command, Now + S(after));

    private static RequestDocument Open(RequestSpec spec) => Good(null, new Open("", spec));

    private static RequestDocument Good(RequestDocument? document, RequestCommand command, int after = 0)
    {
        var step = Apply(document, command, after);
        Assert.True(step.Refusal is null, step.Refusal?.Message);
        Assert.True(step.Changed);
        return step.Document!;
    }
}
