using System.Collections.Frozen;

namespace Countersign.Proxy.Path.Mask;

/// <summary>International bank account numbers (ISO 13616): country, length and the ISO 7064 MOD 97-10 checksum must fit.</summary>
internal static class Iban
{
    private static readonly FrozenDictionary<int, byte> Lengths = Parse(
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 "
        + "GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 "
        + "MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 "
        + "TR26 UA29 VA22 VG24 XK20 YE30");

    /// <summary>Tries to read one IBAN, with single blanks or dashes between its characters, upper or lower case.</summary>
    public static bool TryMatch(ReadOnlySpan<byte> text, int at, out int length)
    {
        length = 0;
        if (text.Length - at < 15 || (at > 0 && NumberScan.IsWord(text[at - 1]))
            || !char.IsAsciiLetter((char)text[at]) || !char.IsAsciiLetter((char)text[at + 1]) || !NumberScan.IsDigit(text[at + 3])
            || !Lengths.TryGetValue(Key((char)text[at], (char)text[at + 1]), out var wanted))
        {
            return false;
        }

        Span<byte> units = stackalloc byte[34];
        var count = 0;
        var index = at;
        while (index < text.Length && count < wanted)
        {
            var unit = text[index];
            if (char.IsAsciiLetterOrDigit((char)unit))
            {
                units[count++] = unit;
            }
            else if (count < 4 || unit is not ((byte)' ' or (byte)'-') || text[index - 1] == unit)
            {
                return false;
            }

            index++;
        }

        if (count < wanted || (index < text.Length && NumberScan.IsWord(text[index])))
        {
            return false;
        }

        length = index - at;
        return Remainder(units[..count]) == 1;
    }

    private static int Remainder(ReadOnlySpan<byte> units)
    {
        var remainder = 0;
        for (var index = 0; index < units.Length; index++)
        {
            var unit = units[(index + 4) % units.Length];
            remainder = NumberScan.IsDigit(unit)
                ? ((remainder * 10) + unit - '0') % 97
                : ((remainder * 100) + (unit & 0xDF) - 'A' + 10) % 97;
        }

        return remainder;
    }

    private static int Key(char first, char second) => ((first & 0xDF) << 8) | (second & 0xDF);

    private static FrozenDictionary<int, byte> Parse(string table) =>
        table.Split(' ').ToFrozenDictionary(entry => Key(entry[0], entry[1]), entry => byte.Parse(entry.AsSpan(2), provider: null));
}
