using System.Buffers.Binary;
using System.Text;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Scram;
using CsCheck;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>Entry points for a fuzzer: any bytes give a value or the one named exception.</summary>
internal static class FuzzTargets
{
    public static void Frontend(ReadOnlySpan<byte> bytes)
    {
        try
        {
            if (bytes.Length < 5)
            {
                return;
            }

            FrontendRules.Check(bytes[0], BinaryPrimitives.ReadInt32BigEndian(bytes[1..]));
            var body = bytes[5..];
            switch ((FrontendType)bytes[0])
            {
                case FrontendType.Parse:
                    ParseBody.Read(body);
                    break;
                case FrontendType.Bind:
                    BindBody.Read(body);
                    break;
                case FrontendType.Execute:
                    ExecuteBody.Read(body);
                    break;
                case FrontendType.Describe or FrontendType.Close:
                    TargetBody.Read(body);
                    break;
                default:
                    break;
            }
        }
        catch (MalformedMessageException)
        {
            // The one exception that is expected.
        }
    }

    public static void Startup(ReadOnlySpan<byte> bytes)
    {
        try
        {
            var packet = StartupPacket.Read(bytes);
            if (packet.Kind == StartupKind.Startup && packet.MajorVersion == 3)
            {
                StartupSettings.Read(packet);
            }
        }
        catch (Exception error) when (error is MalformedMessageException or StartupRefusedException)
        {
            // Expected.
        }
    }

    public static void Backend(ReadOnlySpan<byte> bytes)
    {
        try
        {
            if (bytes.Length < 5)
            {
                return;
            }

            BackendRules.Check(bytes[0], BinaryPrimitives.ReadInt32BigEndian(bytes[1..]));
            using var output = new OutputBuffer();
            ErrorFields.CopyClean(bytes[5..], bytes[0], output);
        }
        catch (MalformedMessageException)
        {
            // Expected.
        }
    }

    public static void Scram(ReadOnlySpan<byte> bytes)
    {
        var middle = bytes.Length / 2;
        foreach (var mechanism in new[] { ScramText.Sha256, ScramText.Sha256Plus, "none" })
        {
            foreach (var binding in new[] { null, new byte[32] })
            {
                try
                {
                    var exchange = ScramServerExchange.Begin(mechanism, bytes, binding);
                    exchange.Challenge("servernonce", "c2FsdA==", 4096);
                    exchange.Finish(bytes[middle..]);
                }
                catch (MalformedMessageException)
                {
                    // Expected.
                }
            }
        }

        try
        {
            new ScramClientExchange(null, false, "abc").Final(bytes, "secret");
        }
        catch (MalformedMessageException)
        {
            // Expected.
        }
    }
}

[Trait("group", "unit")]
public sealed class MessageTests
{
    [Fact]
    public void Every_message_type_has_a_treatment_and_nothing_else_does()
    {
        for (var type = 0; type < 256; type++)
        {
            Assert.Equal(Enum.IsDefined((FrontendType)type), !Throws(() => FrontendRules.For((byte)type)));
            Assert.Equal(Enum.IsDefined((BackendType)type), !Throws(() => BackendRules.For((byte)type)));
        }

        // A type that is added must be decided on here too.
        Assert.Equal(14, Enum.GetValues<FrontendType>().Length);
        Assert.Equal(24, Enum.GetValues<BackendType>().Length);
        static bool Throws(Action action)
        {
            try
            {
                action();
                return false;
            }
            catch (MalformedMessageException)
            {
                return true;
            }
        }
    }

    [Fact]
    public void What_can_have_an_effect_is_an_operation_or_continues_one()
    {
        Assert.Equal(FrontendTreatment.Operation, FrontendRules.For((byte)'Q').Treatment);
        Assert.Equal(FrontendTreatment.Operation, FrontendRules.For((byte)'B').Treatment);
        Assert.Equal(FrontendTreatment.Refuse, FrontendRules.For((byte)'F').Treatment);
        Assert.Equal(BackendTreatment.End, BackendRules.For((byte)'W').Treatment);
    }

    [Fact]
    public void Readers_throw_nothing_but_the_named_exception()
    {
        foreach (var seed in Seeds())
        {
            Fuzz(seed);
            for (var cut = 0; cut < seed.Length; cut++)
            {
                Fuzz(seed[..cut]);
            }

            for (var position = 0; position < seed.Length; position++)
            {
                foreach (var value in new byte[] { 0, 1, 0x7f, 0x80, 0xff, (byte)'=', (byte)',' })
                {
                    var mutated = (byte[])seed.Clone();
                    mutated[position] = value;
                    Fuzz(mutated);
                }
            }
        }

        Gen.Byte.Array[0, 200].Sample(Fuzz, iter: 20_000);
    }

    [Fact]
    public void Error_fields_keep_all_but_what_identifies_the_server()
    {
        var body = Encoding.UTF8.GetBytes("SERROR\0VERROR\0C42601\0Moops\0Ffile.c\0L12\0Rfunc\0\0");
        using var output = new OutputBuffer();
        ErrorFields.CopyClean(body, (byte)'E', output);
        Assert.Equal("SERROR\0VERROR\0C42601\0Moops\0\0", Encoding.UTF8.GetString(output.Pending.Span[5..]));
    }

    [Fact]
    public void A_message_that_was_not_ended_never_leaves()
    {
        using var output = new OutputBuffer();
        output.Begin(FrontendType.Query);
        output.WriteCString("select 1");
        Assert.Throws<InvalidOperationException>(() => output.Pending);
        Assert.Throws<InvalidOperationException>(() => output.Begin(FrontendType.Sync));
        output.End();
        Assert.Equal(14, output.Pending.Length);
    }

    [Fact]
    public void Strings_can_not_end_early()
    {
        using var output = new OutputBuffer();
        output.WriteCString("a\0b");
        Assert.Equal("a?b\0"u8.ToArray(), output.Pending.ToArray());
    }

    private static void Fuzz(byte[] bytes)
    {
        FuzzTargets.Frontend(bytes);
        FuzzTargets.Backend(bytes);
        FuzzTargets.Startup(bytes);
        FuzzTargets.Scram(bytes);
    }

    private static IEnumerable<byte[]> Seeds()
    {
        yield return [(byte)'P', 0, 0, 0, 30, .. "s\0select $1\0"u8, 0, 1, 0, 0, 0, 23];
        yield return [(byte)'B', 0, 0, 0, 30, .. "p\0s\0"u8, 0, 1, 0, 1, 0, 2, 0, 0, 0, 4, 0, 0, 0, 7, 255, 255, 255, 255, 0, 1, 0, 1];
        yield return [(byte)'E', 0, 0, 0, 10, .. "p\0"u8, 0, 0, 0, 1];
        yield return [(byte)'D', 0, 0, 0, 7, .. "Sx\0"u8];
        yield return [(byte)'E', 0, 0, 0, 20, .. "SERROR\0C42601\0\0"u8];
        yield return RawClient.Startup(3 << 16, "user", "alice", "database", "demo/db", "options", "-c geqo=off --DateStyle=ISO")[4..];
        yield return [4, 210, 22, 46, 0, 0, 0, 1, 1, 2, 3, 4];
        yield return [4, 210, 22, 47];
        yield return "n,,n=,r=rOprNGfwEbeRWgbNEkqO"u8.ToArray();
        yield return "p=tls-server-end-point,,n=,r=rOprNGfwEbeRWgbNEkqO"u8.ToArray();
        yield return "c=biws,r=rOprNGfwEbeRWgbNEkqOservernonce,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="u8.ToArray();
        yield return "r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"u8.ToArray();
    }
}

[Trait("group", "unit")]
public sealed class ScramTests
{
    [Fact]
    public void The_client_side_is_that_of_rfc_7677()
    {
        // RFC 7677 section 3, with the user name left out as PostgreSQL clients do: the proof is computed by the other side's formulas.
        var client = new ScramClientExchange(null, couldBind: false, "rOprNGfwEbeRWgbNEkqO");
        var final = client.Final("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"u8, "pencil");
        Assert.StartsWith("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=", final, StringComparison.Ordinal);
        Assert.Throws<MalformedMessageException>(() => client.Verify("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="u8));
    }

    [Theory]
    [InlineData("y,,n=,r=abcdefghij", ScramText.Sha256)]
    [InlineData("n,,n=,r=abcdefghij", ScramText.Sha256Plus)]
    [InlineData("p=tls-unique,,n=,r=abcdefghij", ScramText.Sha256Plus)]
    [InlineData("p=tls-server-end-point,,n=,r=abcdefghij", ScramText.Sha256)]
    [InlineData("n,a=root,n=,r=abcdefghij", ScramText.Sha256)]
    [InlineData("n,,m=ext,n=,r=abcdefghij", ScramText.Sha256)]
    public void Downgrades_and_what_is_not_offered_are_refused(string first, string mechanism) =>
        Assert.Throws<MalformedMessageException>(() => ScramServerExchange.Begin(mechanism, Encoding.ASCII.GetBytes(first), new byte[32]));

    [Fact]
    public void Another_channel_or_nonce_is_refused()
    {
        var binding = new byte[32];
        var exchange = ScramServerExchange.Begin(ScramText.Sha256Plus, "p=tls-server-end-point,,n=,r=abcdefghij"u8, binding);
        exchange.Challenge("xyz", "c2FsdA==", 4096);
        var proof = Convert.ToBase64String(new byte[32]);
        string Final(byte[] bound, string nonce) => $"c={Convert.ToBase64String([.. "p=tls-server-end-point,,"u8, .. bound])},r={nonce},p={proof}";
        exchange.Finish(Encoding.ASCII.GetBytes(Final(binding, "abcdefghijxyz")));
        Assert.Throws<MalformedMessageException>(() => exchange.Finish(Encoding.ASCII.GetBytes(Final([1, .. new byte[31]], "abcdefghijxyz"))));
        Assert.Throws<MalformedMessageException>(() => exchange.Finish(Encoding.ASCII.GetBytes(Final(binding, "abcdefghijxyy"))));
    }

    [Fact]
    public void A_target_that_changes_the_nonce_or_asks_for_too_much_work_is_refused()
    {
        var client = new ScramClientExchange(null, couldBind: true, "abc");
        Assert.StartsWith("y,,", client.First, StringComparison.Ordinal);
        Assert.Throws<MalformedMessageException>(() => client.Final("r=abX,s=c2FsdA==,i=4096"u8, "x"));
        Assert.Throws<MalformedMessageException>(() => client.Final("r=abc,s=c2FsdA==,i=4096"u8, "x"));
        Assert.Throws<MalformedMessageException>(() => client.Final("r=abcd,s=c2FsdA==,i=2000000000"u8, "x"));
        Assert.Throws<MalformedMessageException>(() => client.Final("r=abcd,s=c2FsdA==,i=0"u8, "x"));
    }
}
