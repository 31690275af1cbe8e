using System.Buffers;

namespace Countersign.Proxy.Path.Mask;

/// <summary>Finds e-mail addresses: a local part, <c>@</c>, a domain with at least one dot and an alphabetic top level.</summary>
internal static class EmailScan
{
    private static readonly SearchValues<byte> Domain = SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"u8);

    public static bool Next(ReadOnlySpan<byte> text, int from, out int at, out int length)
    {
        var search = from;
        while (true)
        {
            var sign = text[search..].IndexOf((byte)'@');
            if (sign < 0)
            {
                (at, length) = (0, 0);
                return false;
            }

            sign += search;
            var start = Start(text, from, sign);
            var end = End(text, sign);
            if (start < sign && end > 0)
            {
                (at, length) = (start, end - start);
                return true;
            }

            search = sign + 1;
        }
    }

    private static int Start(ReadOnlySpan<byte> text, int from, int sign)
    {
        var start = sign;
        while (start > from && sign - start < 64 && IsLocal(text[start - 1]))
        {
            start--;
        }

        while (start < sign && text[start] is (byte)'.' or (byte)'-' or (byte)'\'')
        {
            start++;
        }

        return start;
    }

    private static int End(ReadOnlySpan<byte> text, int sign)
    {
        var domain = text.Slice(sign + 1, Math.Min(254, text.Length - sign - 1));
        var stop = domain.IndexOfAnyExcept(Domain);
        domain = stop < 0 ? domain : domain[..stop];
        while (domain.Length > 0 && domain[^1] is (byte)'.' or (byte)'-')
        {
            domain = domain[..^1];
        }

        var dot = domain.LastIndexOf((byte)'.');
        if (dot <= 0 || domain[0] == (byte)'-' || domain[0] == (byte)'.')
        {
            return 0;
        }

        var top = domain[(dot + 1)..];
        var punycode = top.StartsWith("xn--"u8);
        if (top.Length is < 2 or > 63 || (!punycode && top.ContainsAnyExceptInRange((byte)'A', (byte)'z')))
        {
            return 0;
        }

        return sign + 1 + domain.Length;
    }

    // Beyond ASCII everything counts (RFC 6531); the domain must be ASCII or punycode to be recognised.
    private static bool IsLocal(byte unit) =>
        unit >= 0x80 || char.IsAsciiLetterOrDigit((char)unit) || "._%+-'!#$&*/=?^{|}~"u8.Contains(unit);
}
