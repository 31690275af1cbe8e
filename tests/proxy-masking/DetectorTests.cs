using System.Text;
using Countersign.Proxy.Path.Mask;
using CsCheck;

namespace Countersign.Proxy.Masking.Tests;

/// <summary>The second net: what it must find, what it must leave alone, and that it costs nothing where there is nothing.</summary>
[Trait("group", "unit")]
public sealed class DetectorTests
{
    [Theory]
    [InlineData("card", "4111111111111111")]
    [InlineData("card", "pay 4111 1111 1111 1111 now")]
    [InlineData("card", "5555-5555-5555-4444")]
    [InlineData("card", "378282246310005")]
    [InlineData("card", "3782 822463 10005")]
    [InlineData("card", "6011000990139424")]
    [InlineData("card", "3530111333300000")]
    [InlineData("card", "30569309025904")]
    [InlineData("card", "4222222222222")]
    [InlineData("card", "2223003122003222")]
    [InlineData("card", "{\"pan\":\"4012888888881881\"}")]
    [InlineData("card", "4111111111111111 12/27")]
    [InlineData("email", "alice@example.com")]
    [InlineData("email", "<a.b+c@mail.example.co.uk>,")]
    [InlineData("email", "jürgen@example.de")]
    [InlineData("email", "x@xn--bcher-kva.xn--p1ai")]
    [InlineData("email", "(\"o'brien@example.ie\",1)")]
    [InlineData("iban", "DE89370400440532013000")]
    [InlineData("iban", "GB29 NWBK 6016 1331 9268 19")]
    [InlineData("iban", "to FR1420041010050500013M02606 please")]
    [InlineData("iban", "nl91abna0417164300")]
    [InlineData("us-ssn", "536-90-4399")]
    [InlineData("us-ssn", "ssn: 536 90 4399.")]
    [InlineData("phone", "+49 170 1234567")]
    [InlineData("phone", "+14155552671")]
    [InlineData("phone", "call (415) 555-2671 now")]
    [InlineData("phone", "415-555-2671")]
    [InlineData("phone", "+44 (0)20 7946 0958")]
    [InlineData("token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U")]
    [InlineData("token", "AKIAIOSFODNN7EXAMPLE")]
    [InlineData("token", "key=ghp_16C7e42F292c6912E7710c838347Ae178B4a;")]
    [InlineData("token", "sk-proj-aB3dE5fG7hJ9kL1mN3pQ5rS7tU9v")]
    [InlineData("token", "sk_live_4eC39HqLyjWDarjtT1zdp7dc")]
    [InlineData("token", "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy")]
    [InlineData("token", "Authorization: Bearer 7f9aQ2xLk0PzW8vYb3Rt")]
    [InlineData("token", "authorization: bearer abcdefghijklmnopqrst")]
    [InlineData("token", "glpat-X7sQ2zK9pL4mN8vB1cD3")]
    public void Finds(string detector, string text)
    {
        var set = DetectorSet.Of([detector]);
        var value = Encoding.UTF8.GetBytes(text);
        Assert.True(set.MayContain(value));
        Assert.True(set.MayContain([1, 2, 0, 0, 0, (byte)value.Length, .. value, 0, 0, 0, 1, 7]));
        Assert.True(set.Finds(value));
        var length = value.Length;
        Assert.Equal(1, set.MaskInPlace(value));
        Assert.Equal(length, value.Length);
        Assert.False(set.Finds(value), Encoding.UTF8.GetString(value));
        Assert.False(DetectorSet.Of([.. DetectorSet.Names.Keys.Where(name => name != detector)]).Finds(Encoding.UTF8.GetBytes(text)));
    }

    [Theory]
    [InlineData("4111111111111112")]
    [InlineData("1234567890123456")]
    [InlineData("0000000000000000")]
    [InlineData("3.4111111111111111")]
    [InlineData("id_4111111111111111")]
    [InlineData("41111111111111111111111111111111")]
    [InlineData("550e8400-e29b-41d4-a716-446655440000")]
    [InlineData("2024-01-02 03:04:05.678901+00")]
    [InlineData("1700000000000")]
    [InlineData("10.0.0.1, 192.168.100.200")]
    [InlineData("version 15.20.1 (Debian 15.20-1.pgdg120+1)")]
    [InlineData("user@localhost")]
    [InlineData("@mention and me@ or a@b")]
    [InlineData("SELECT * FROM t WHERE a @> b AND c @@ d")]
    [InlineData("DE89370400440532013001")]
    [InlineData("XX89370400440532013000")]
    [InlineData("000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000")]
    [InlineData("1536-90-43991 and 536-90-4399-1")]
    [InlineData("115-555-2671")]
    [InlineData("5+1234567890123")]
    [InlineData("order 415-5552671-9")]
    [InlineData("sk-some-name-of-a-thing-that-is-long")]
    [InlineData("eyJ is how a token begins")]
    [InlineData("the bearer of this letter is a friend")]
    [InlineData("Bearer aaaaaaaaaaaaaaaaaaaaaaaaa")]
    [InlineData("AKIAisnotakeyatall and ghp_short")]
    [InlineData("https://example.com/a/very/long/path/that/goes/on-and-on_and~on.html?x=1")]
    [InlineData("d41d8cd98f00b204e9800998ecf8427e")]
    [InlineData("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")]
    [InlineData("name 1 of 20: line \"one\"\n\ttwo\\15")]
    [InlineData("(1,\"2024-05-06\",3.14159265358979,{4,5,6})")]
    [InlineData("")]
    public void Leaves_alone(string text) => Assert.False(DetectorSet.All.Finds(Encoding.UTF8.GetBytes(text)));

    [Fact]
    public void Harmless_random_text_is_hardly_ever_touched()
    {
        // Identifiers, amounts, dates, UUIDs and words, as tables hold them. Seeded, so that the figure is the same every time.
        var random = new Random(4711);
        var found = 0;
        for (var row = 0; row < 20_000; row++)
        {
            var text = $"{random.Next()} {new Guid(Bytes(random, 16))} {random.NextDouble():F6} {DateTime.UnixEpoch.AddSeconds(random.Next()):O} {random.NextInt64(1L << 40)} {Word(random)}";
            found += DetectorSet.All.Finds(Encoding.UTF8.GetBytes(text)) ? 1 : 0;
        }

        Assert.True(found < 20, $"{found} of 20000");
    }

    [Fact]
    public void Nothing_found_means_nothing_allocated()
    {
        var row = Encoding.UTF8.GetBytes("name 1, 2024-01-02, 12345.67, some words that go on for a while, @ and 415-5 and eyJhbGciOiJIUzI1NiJ9 4111111111111112");
        DetectorSet.All.Finds(row);
        DetectorSet.All.MayContain(row);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var round = 0; round < 100; round++)
        {
            DetectorSet.All.MayContain(row);
            DetectorSet.All.Finds(row);
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void Masking_keeps_length_and_everything_that_is_no_letter_or_digit() =>
        Gen.String[Gen.Char[" -.@+()0123456789abcXYZ_,{}\"\\/:eyJDE"], 0, 80].Sample(text =>
        {
            var before = Encoding.UTF8.GetBytes(text);
            var after = (byte[])before.Clone();
            var found = DetectorSet.All.MaskInPlace(after);
            Assert.Equal(found > 0, DetectorSet.All.Finds(before));
            Assert.True(found == 0 || DetectorSet.All.MayContain(before));
            for (var index = 0; index < before.Length; index++)
            {
                Assert.True(before[index] == after[index] || (after[index] == '*' && char.IsAsciiLetterOrDigit((char)before[index])));
            }
        }, iter: 20_000);

    [Fact]
    public void Any_valid_card_number_is_found_wherever_it_stands() =>
        Gen.Select(Gen.OneOf(Gen.Const("4"), Gen.Const("51"), Gen.Const("2221"), Gen.Const("6011"), Gen.Const("3530")), Gen.Int[0, int.MaxValue], Gen.Int[0, 99999], Gen.OneOf(Gen.Const(""), Gen.Const(" "), Gen.Const("-")), Gen.OneOf(Gen.Const(""), Gen.Const("x "), Gen.Const("\""), Gen.Const("(a,"), Gen.Const("\t"))).Sample(
            (prefix, high, low, separator, before) =>
            {
                var digits = (prefix + $"{high:D10}{low:D5}")[..15];
                var check = Enumerable.Range(0, 10).First(last => CardLuhn(digits + last));
                var number = digits + check;
                var text = before + string.Join(separator, Enumerable.Range(0, 4).Select(group => number.Substring(group * 4, 4))) + "\n";
                Assert.True(DetectorSet.Of(["card"]).Finds(Encoding.UTF8.GetBytes(text)), text);
            }, iter: 5_000);

    [Theory]
    [InlineData("last4", "4111111111111111", "***1111")]
    [InlineData("last4", "1234567", "***")]
    [InlineData("last4", "größe-äöüß", "***äöüß")]
    [InlineData("redact", "anything", "***")]
    [InlineData("null", "anything", null)]
    [InlineData("no-such-strategy", "anything", null)]
    public void Strategies(string strategy, string value, string? expected)
    {
        var output = new byte[MaskedText.Longest];
        var length = MaskedText.Write(MaskedText.Parse(strategy), Encoding.UTF8.GetBytes(value), new MaskKey(), output);
        Assert.Equal(expected, length < 0 ? null : Encoding.UTF8.GetString(output, 0, length));
    }

    [Fact]
    public void Hashes_are_equal_within_a_session_and_differ_between_sessions()
    {
        var (one, two) = (new MaskKey(), new MaskKey());
        string Hash(MaskKey key, string value)
        {
            var output = new byte[MaskedText.Longest];
            return Encoding.UTF8.GetString(output, 0, MaskedText.Write(MaskStrategy.Hash, Encoding.UTF8.GetBytes(value), key, output));
        }

        Assert.Equal(Hash(one, "a"), Hash(one, "a"));
        Assert.NotEqual(Hash(one, "a"), Hash(one, "b"));
        Assert.NotEqual(Hash(one, "a"), Hash(two, "a"));
    }

    [Fact]
    public void An_unknown_detector_switches_all_on() => Assert.Equal(Detectors.All, DetectorSet.Of(["card", "no-such"]).Kinds);

    private static bool CardLuhn(string digits)
    {
        var sum = 0;
        for (var index = 0; index < digits.Length; index++)
        {
            var digit = digits[digits.Length - 1 - index] - '0';
            sum += index % 2 == 0 ? digit : digit * 2 > 9 ? (digit * 2) - 9 : digit * 2;
        }

        return sum % 10 == 0;
    }

    private static byte[] Bytes(Random random, int count)
    {
        var bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }

    private static string Word(Random random) => string.Concat(Enumerable.Range(0, random.Next(3, 30)).Select(_ => (char)random.Next('a', 'z' + 1)));
}
