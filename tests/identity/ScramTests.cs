using Countersign.Identity.Credentials;
using Countersign.Identity.Tests.Support;
using CsCheck;
using Microsoft.Extensions.Time.Testing;

namespace Countersign.Identity.Tests;

/// <summary>SCRAM against the example of RFC 7677 and against another implementation; the throttle.</summary>
[Trait("group", "unit")]
public sealed class ScramTests
{
    private const string First = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    private const string Nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    private const string ServerFirst = "r=rOprNGfwEbeRWgbNEkqO" + Nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    private const string Final = "c=biws,r=rOprNGfwEbeRWgbNEkqO" + Nonce;
    private static readonly byte[] Salt = Convert.FromBase64String("W22ZaJ0SNY7soEsUEjb6gQ==");

    [Fact]
    public void The_example_of_the_rfc_verifies()
    {
        var verifier = ScramVerifier.Of("pencil", Salt);
        var message = ScramMessages.AuthMessage(First, ServerFirst, Final, Nonce, Salt, 4096);
        var signature = verifier.Verify(message!, Convert.FromBase64String("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
        Assert.Equal("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", Convert.ToBase64String(signature!));
        Assert.Null(ScramVerifier.Of("pencil2", Salt).Verify(message!, Convert.FromBase64String("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")));
    }

    [Fact]
    public void A_proof_with_any_byte_changed_or_of_another_length_fails()
    {
        var verifier = ScramVerifier.Of("pencil", Salt);
        var message = ScramMessages.AuthMessage(First, ServerFirst, Final, Nonce, Salt, 4096)!;
        var proof = Convert.FromBase64String("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        Gen.Select(Gen.Int[0, 31], Gen.Int[1, 255]).Sample((index, change) =>
        {
            var wrong = proof.ToArray();
            wrong[index] ^= (byte)change;
            Assert.Null(verifier.Verify(message, wrong));
        }, iter: 300);
        Assert.Null(verifier.Verify(message, []));
        Assert.Null(verifier.Verify(message, proof.AsSpan(0, 31)));
        Assert.Null(verifier.Verify(message, [.. proof, 0]));
        Assert.NotNull(verifier.Verify(message, proof));
    }

    [Fact]
    public void Another_implementation_agrees()
    {
        Gen.String[Gen.Char['!', '~'], 1, 40].Sample(secret =>
        {
            var client = new ScramClient(secret);
            var proof = client.Proof("server", Convert.ToBase64String(Salt), 4096);
            var message = ScramMessages.AuthMessage(
                client.First, client.ServerFirst("server", Convert.ToBase64String(Salt), 4096), client.FinalWithoutProof("server"), "server", Salt, 4096);
            var signature = ScramVerifier.Of(secret, Salt).Verify(message!, Convert.FromBase64String(proof));
            Assert.True(client.Accepts(Convert.ToBase64String(signature!)));
        }, iter: 10);
    }

    [Theory]
    [InlineData("n=user,r=short", ServerFirst, Final)]
    [InlineData("m=x,n=user,r=rOprNGfwEbeRWgbNEkqO", ServerFirst, Final)]
    [InlineData("r=rOprNGfwEbeRWgbNEkqO", ServerFirst, Final)]
    [InlineData("", ServerFirst, Final)]
    [InlineData(First, "r=rOprNGfwEbeRWgbNEkqO" + Nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1", Final)]
    [InlineData(First, "r=rOprNGfwEbeRWgbNEkqOother,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", Final)]
    [InlineData(First, "r=rOprNGfwEbeRWgbNEkqO" + Nonce + ",s=AAAA,i=4096", Final)]
    [InlineData(First, ServerFirst + ",m=x", Final)]
    [InlineData(First, ServerFirst, "c=biws,r=rOprNGfwEbeRWgbNEkqO")]
    [InlineData(First, ServerFirst, Final + ",x=y")]
    [InlineData(First, ServerFirst, "r=rOprNGfwEbeRWgbNEkqO" + Nonce)]
    public void An_exchange_that_is_not_the_one_begun_has_no_message(string first, string serverFirst, string final)
        => Assert.Null(ScramMessages.AuthMessage(first, serverFirst, final, Nonce, Salt, 4096));

    [Fact]
    public void A_verifier_prints_no_key() => Assert.DoesNotContain(
        Convert.ToBase64String(ScramVerifier.Of("pencil", Salt).StoredKey), ScramVerifier.Of("pencil", Salt).ToString(), StringComparison.Ordinal);

    [Fact]
    public void The_throttle_stops_who_fails_lets_go_again_and_stays_small()
    {
        var time = new FakeTimeProvider();
        var throttle = new LoginThrottle(burst: 3, TimeSpan.FromSeconds(10), capacity: 5, time);
        for (var attempt = 0; attempt < 3; attempt++)
        {
            Assert.True(throttle.Allows("eve"));
            throttle.Failed("eve");
        }

        Assert.False(throttle.Allows("eve"));
        Assert.True(throttle.Allows("alice"));
        time.Advance(TimeSpan.FromSeconds(9));
        Assert.False(throttle.Allows("eve"));
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.True(throttle.Allows("eve"));
        throttle.Failed("eve");
        Assert.False(throttle.Allows("eve"));
        for (var other = 0; other < 5; other++)
        {
            throttle.Failed($"other{other}");
        }

        // Forgotten: the table is bounded, and the oldest goes first.
        Assert.True(throttle.Allows("eve"));
    }
}
