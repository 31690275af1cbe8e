namespace Countersign.Proxy.Path.Tests;

[Trait("group", "unit")]
public sealed class SessionRegistryTests
{
    private readonly SessionRegistry _registry = new();

    [Fact]
    public void Ends_those_that_are_named_and_keeps_the_first_reason()
    {
        using var alice = _registry.Add("ses_1", Sessions.Make(new MemoryRecording(new Journal())).Claims);
        using var bob = _registry.Add("ses_2", alice.Claims with { Person = "per_bob" });
        Assert.Equal(1, _registry.End(session => session.Claims.Person == "per_bob", "revoked"));
        Assert.Equal(2, _registry.End(_ => true, "shutdown"));
        Assert.Equal("revoked", bob.Reason);
        Assert.Equal("shutdown", alice.Reason);
        Assert.True(alice.Ending.IsCancellationRequested && bob.Ending.IsCancellationRequested);
    }

    [Fact]
    public void A_session_that_ended_is_forgotten()
    {
        var claims = Sessions.Make(new MemoryRecording(new Journal())).Claims;
        using (_registry.Add("ses_1", claims))
        {
            Assert.Equal(1, _registry.Count);
            Assert.Throws<ArgumentException>(() => _registry.Add("ses_1", claims));
        }

        Assert.Equal(0, _registry.Count);
        Assert.Equal(0, _registry.End(_ => true, "revoked"));
    }

    [Theory]
    [InlineData("credential", "cre_1", true)]
    [InlineData("credential", "cre_2", false)]
    [InlineData("person", Sessions.Person, true)]
    [InlineData("session", "ses_1", true)]
    [InlineData("session", "ses_2", false)]
    [InlineData("other", "cre_1", false)]
    public void A_revocation_ends_what_it_concerns_also_when_it_comes_first(string kind, string id, bool ends)
    {
        var claims = Sessions.Make(new MemoryRecording(new Journal())).Claims;
        var revocation = new Identity.Contracts.Revocation(1, kind, id, DateTimeOffset.UnixEpoch);
        using (var open = _registry.Add("ses_1", claims))
        {
            Assert.Equal(ends ? 1 : 0, _registry.Revoke(revocation, DateTimeOffset.UnixEpoch));
            Assert.Equal(ends ? "revoked" : null, open.Reason);
        }

        using var late = _registry.Add("ses_1", claims);
        Assert.Equal(ends, late.Ending.IsCancellationRequested);
    }

    [Theory]
    [InlineData("person", Sessions.Person, 5, true)]
    [InlineData("person", Sessions.Person, 60, false)]
    [InlineData("credential", "cre_1", 60, true)]
    [InlineData("session", "ses_1", 60, true)]
    public void A_person_who_was_let_in_again_is_let_in_but_nothing_else_comes_back(string kind, string id, int signedAfter, bool ends)
    {
        var at = new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
        _registry.Revoke(new Identity.Contracts.Revocation(1, kind, id, at), at.AddHours(5));
        var claims = Sessions.Make(new MemoryRecording(new Journal())).Claims with { IssuedAt = at.AddSeconds(signedAfter).ToUnixTimeSeconds() };
        using var session = _registry.Add("ses_1", claims);
        Assert.Equal(ends, session.Ending.IsCancellationRequested);
    }

    [Fact]
    public void Draining_is_not_ending()
    {
        using var session = _registry.Add("ses_1", Sessions.Make(new MemoryRecording(new Journal())).Claims);
        _registry.Drain();
        Assert.True(session.Draining.IsCancellationRequested);
        Assert.False(session.Ending.IsCancellationRequested);
    }
}
