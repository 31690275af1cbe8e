using System.Buffers;

namespace Countersign.Proxy.Path.Mask;

/// <summary>Finds card numbers, IBANs, US social security numbers and phone numbers. Starts only where a digit begins a group.</summary>
internal static class NumberScan
{
    // Whatever is found here has at least nine characters of these in a row (3-2-4 with dashes, +12345678), blanks in IBANs and letters aside.
    private const int ShortestRun = 8;
    private static readonly SearchValues<byte> Digits = SearchValues.Create("0123456789"u8);

    /// <summary>Whether there are at least <see cref="ShortestRun"/> digits close together: gaps of at most two other characters (an IBAN may have letters: up to six).</summary>
    public static bool HasLongRun(ReadOnlySpan<byte> row)
    {
        var at = row.IndexOfAny(Digits);
        while (at >= 0)
        {
            var digits = 0;
            var gap = 0;
            for (; at < row.Length && gap <= 30; at++)
            {
                if ((uint)(row[at] - '0') <= 9)
                {
                    if (++digits >= ShortestRun)
                    {
                        return true;
                    }

                    gap = 0;
                }
                else if (row[at] < ' ')
                {
                    break;
                }
                else
                {
                    gap++;
                }
            }

            var next = row[at..].IndexOfAny(Digits);
            at = next < 0 ? -1 : at + next;
        }

        return false;
    }

    public static Detectors Next(ReadOnlySpan<byte> text, int from, Detectors kinds, out int at, out int length)
    {
        var search = from;
        while (true)
        {
            var digit = text[search..].IndexOfAny(Digits);
            if (digit < 0)
            {
                (at, length) = (0, 0);
                return Detectors.None;
            }

            digit += search;
            if ((kinds & Detectors.Iban) != 0 && digit - from >= 2 && Iban.TryMatch(text, digit - 2, out length))
            {
                at = digit - 2;
                return Detectors.Iban;
            }

            if ((kinds & Detectors.Card) != 0 && CardNumber.TryMatch(text, digit, out length))
            {
                at = digit;
                return Detectors.Card;
            }

            if ((kinds & Detectors.UsSsn) != 0 && UsSsn.TryMatch(text, digit, out length))
            {
                at = digit;
                return Detectors.UsSsn;
            }

            if ((kinds & Detectors.Phone) != 0 && PhoneNumber.TryMatch(text, from, digit, out at, out length))
            {
                return Detectors.Phone;
            }

            var group = text[digit..].IndexOfAnyExcept(Digits);
            if (group < 0)
            {
                (at, length) = (0, 0);
                return Detectors.None;
            }

            search = digit + group;
        }
    }

    /// <summary>Whether a number may begin here: not in the middle of a word, another number or a decimal fraction.</summary>
    internal static bool IsStart(ReadOnlySpan<byte> text, int at) =>
        at == 0 || (!IsWord(text[at - 1]) && !(text[at - 1] is (byte)'.' or (byte)',' && at > 1 && IsDigit(text[at - 2])));

    /// <summary>Whether a number may end before this index.</summary>
    internal static bool IsEnd(ReadOnlySpan<byte> text, int end) =>
        end == text.Length || (!IsWord(text[end]) && !(text[end] == (byte)'.' && end + 1 < text.Length && IsDigit(text[end + 1])));

    internal static bool IsDigit(byte unit) => (uint)(unit - '0') <= 9;

    internal static bool IsWord(byte unit) => unit == (byte)'_' || char.IsAsciiLetterOrDigit((char)unit);

    /// <summary>Number of digits from an index on.</summary>
    internal static int Group(ReadOnlySpan<byte> text, int at)
    {
        var end = at;
        while (end < text.Length && IsDigit(text[end]))
        {
            end++;
        }

        return end - at;
    }
}

/// <summary>Payment card numbers (ISO/IEC 7812): issuer range, length and Luhn digit must fit.</summary>
internal static class CardNumber
{
    private const int Shortest = 13;
    private const int Longest = 19;

    public static bool TryMatch(ReadOnlySpan<byte> text, int at, out int length)
    {
        length = 0;
        if (!NumberScan.IsStart(text, at))
        {
            return false;
        }

        Span<byte> digits = stackalloc byte[Longest];
        var count = 0;
        byte separator = 0;
        var end = at;
        for (var groups = 0; groups < 6; groups++)
        {
            var group = NumberScan.Group(text, end);
            if (group + count > Longest || (group < 3 && (groups > 0 || group + count < Shortest)))
            {
                break;
            }

            for (var index = 0; index < group; index++)
            {
                digits[count++] = (byte)(text[end + index] - '0');
            }

            end += group;
            // The longest reading that fits wins, so that a card number followed by an expiry year is still found.
            if (count >= Shortest && NumberScan.IsEnd(text, end) && IsCard(digits[..count]))
            {
                length = end - at;
            }

            if (end + 1 >= text.Length || text[end] is not ((byte)' ' or (byte)'-') || (separator != 0 && text[end] != separator))
            {
                break;
            }

            separator = text[end++];
        }

        return length > 0;
    }

    internal static bool IsCard(ReadOnlySpan<byte> digits) => IsIssued(digits) && Luhn(digits);

    internal static bool Luhn(ReadOnlySpan<byte> digits)
    {
        var sum = 0;
        for (var index = 0; index < digits.Length; index++)
        {
            int value = digits[digits.Length - 1 - index];
            if ((index & 1) == 1)
            {
                value = value > 4 ? (value * 2) - 9 : value * 2;
            }

            sum += value;
        }

        return sum % 10 == 0;
    }

    // Without the issuer ranges every tenth long number would be a card.
    private static bool IsIssued(ReadOnlySpan<byte> digits)
    {
        var two = (digits[0] * 10) + digits[1];
        var four = (two * 100) + (digits[2] * 10) + digits[3];
        return (digits.Length, digits[0]) switch
        {
            (13 or 16 or 19, 4) => true,
            (14, 3) => two is 36 or 38 or 39 || four is >= 3000 and <= 3059,
            (15, 3) => two is 34 or 37,
            (16, 2) => four is (>= 2200 and <= 2204) or (>= 2221 and <= 2720),
            ( >= 16, 3) => four is >= 3528 and <= 3589 || (two is 30 or 36 or 38 or 39),
            ( >= 13, 5) => (digits.Length == 16 && two <= 58) || two is 50 or >= 56 and <= 58,
            ( >= 13, 6) => true,
            ( >= 16, 8) => two is 81 or 82,
            _ => false,
        };
    }
}

/// <summary>US social security numbers: <c>AAA-GG-SSSS</c> or with blanks, in the ranges that are given out.</summary>
internal static class UsSsn
{
    public static bool TryMatch(ReadOnlySpan<byte> text, int at, out int length)
    {
        length = 11;
        if (text.Length - at < 11 || !NumberScan.IsStart(text, at) || !NumberScan.IsEnd(text, at + 11) || (at > 0 && text[at - 1] == (byte)'-'))
        {
            return false;
        }

        var value = text.Slice(at, 11);
        if (NumberScan.Group(value, 0) != 3 || value[3] is not ((byte)'-' or (byte)' ') || NumberScan.Group(value, 4) != 2
            || value[6] != value[3] || NumberScan.Group(value, 7) != 4 || (at + 11 < text.Length && text[at + 11] == (byte)'-'))
        {
            return false;
        }

        return !value.StartsWith("000"u8) && !value.StartsWith("666"u8) && value[0] != (byte)'9'
            && !value.Slice(4, 2).SequenceEqual("00"u8) && !value[7..].SequenceEqual("0000"u8);
    }
}

/// <summary>Phone numbers: <c>+</c> and 8 to 15 digits, or North American <c>(AAA) EEE-NNNN</c> with separators.</summary>
internal static class PhoneNumber
{
    public static bool TryMatch(ReadOnlySpan<byte> text, int from, int digit, out int at, out int length)
    {
        at = digit;
        if (digit > from && text[digit - 1] == (byte)'+')
        {
            at = digit - 1;
            return International(text, digit, out length);
        }

        return NorthAmerican(text, from, ref at, out length);
    }

    private static bool International(ReadOnlySpan<byte> text, int digit, out int length)
    {
        length = 0;
        if (text[digit] == (byte)'0' || (digit > 1 && (NumberScan.IsWord(text[digit - 2]) || text[digit - 2] == (byte)'+')))
        {
            return false;
        }

        var digits = 0;
        var gap = 0;
        var end = digit;
        for (var index = digit; index < text.Length; index++)
        {
            var unit = text[index];
            if (NumberScan.IsDigit(unit))
            {
                digits++;
                gap = 0;
                end = index + 1;
                if (digits > 15)
                {
                    return false;
                }
            }
            else if (unit is (byte)' ' or (byte)'-' or (byte)'.' or (byte)'(' or (byte)')' or (byte)'/' && gap < 2)
            {
                gap++;
            }
            else
            {
                break;
            }
        }

        length = end - digit + 1;
        return digits >= 8 && (end == text.Length || !NumberScan.IsWord(text[end]));
    }

    private static bool NorthAmerican(ReadOnlySpan<byte> text, int from, ref int at, out int length)
    {
        length = 0;
        var start = at;
        var parenthesis = start > from && text[start - 1] == (byte)'(';
        var outer = parenthesis ? start - 1 : start;
        if (!NumberScan.IsStart(text, outer) || (outer > 0 && text[outer - 1] == (byte)'-') || NumberScan.Group(text, start) != 3 || text[start] < (byte)'2')
        {
            return false;
        }

        var next = start + 3;
        if (parenthesis)
        {
            if (next >= text.Length || text[next] != (byte)')')
            {
                return false;
            }

            next++;
            next += next < text.Length && text[next] == (byte)' ' ? 1 : 0;
        }
        else if (next < text.Length && text[next] is (byte)'-' or (byte)'.' or (byte)' ')
        {
            next++;
        }
        else
        {
            return false;
        }

        if (NumberScan.Group(text, next) != 3 || text[next] < (byte)'2' || next + 3 >= text.Length || text[next + 3] is not ((byte)'-' or (byte)'.' or (byte)' '))
        {
            return false;
        }

        if (!parenthesis && text[next + 3] != text[start + 3])
        {
            return false;
        }

        var last = next + 4;
        if (NumberScan.Group(text, last) != 4 || !NumberScan.IsEnd(text, last + 4) || (last + 4 < text.Length && text[last + 4] == (byte)'-'))
        {
            return false;
        }

        at = outer;
        length = last + 4 - outer;
        return true;
    }
}
