using System.Collections.Frozen;

namespace Countersign.Proxy.Path.Mask;

/// <summary>What a detector looks for. Names in policies: see <see cref="DetectorSet.Names"/>.</summary>
[Flags]
public enum Detectors
{
    /// <summary>Nothing.</summary>
    None = 0,
    /// <summary>Payment card numbers: 13 to 19 digits of a known issuer range, Luhn, optional blanks or dashes.</summary>
    Card = 1,
    /// <summary>E-mail addresses.</summary>
    Email = 2,
    /// <summary>IBANs: known country and length, ISO 7064 checksum, optional blanks.</summary>
    Iban = 4,
    /// <summary>US social security numbers, with separators.</summary>
    UsSsn = 8,
    /// <summary>Phone numbers: international with <c>+</c>, North American with separators.</summary>
    Phone = 16,
    /// <summary>Bearer tokens and API keys: JWT, well-known prefixes, high entropy after <c>Bearer</c>.</summary>
    Token = 32,
    /// <summary>All of them.</summary>
    All = Card | Email | Iban | UsSsn | Phone | Token,
}

/// <summary>
/// The second net of masking: finds values by their look in text that no column rule covers. Works on UTF-8 bytes; a finding is overwritten in
/// place with the same number of bytes (letters and digits become <c>*</c>, punctuation stays), so that lengths, delimiters, quotes and
/// JSON stay valid. Allocates nothing.
/// </summary>
public sealed class DetectorSet
{
    /// <summary>Longest finding that is looked at, in bytes; a streamed value must keep this much back between two parts.</summary>
    public const int LongestFinding = 4096;

    /// <summary>Detectors by their names in policies.</summary>
    public static FrozenDictionary<string, Detectors> Names { get; } = new Dictionary<string, Detectors>
    {
        ["card"] = Detectors.Card,
        ["email"] = Detectors.Email,
        ["iban"] = Detectors.Iban,
        ["us-ssn"] = Detectors.UsSsn,
        ["phone"] = Detectors.Phone,
        ["token"] = Detectors.Token,
    }.ToFrozenDictionary();

    /// <summary>No detector.</summary>
    public static DetectorSet None { get; } = new(Detectors.None);

    /// <summary>Every detector.</summary>
    public static DetectorSet All { get; } = new(Detectors.All);

    private const Detectors Numeric = Detectors.Card | Detectors.Iban | Detectors.UsSsn | Detectors.Phone;
    private readonly Detectors _kinds;

    /// <summary>A set of detectors.</summary>
    public DetectorSet(Detectors kinds) => _kinds = kinds;

    /// <summary>What it looks for.</summary>
    public Detectors Kinds => _kinds;

    /// <summary>The set for names of a policy. A name that isn't known switches all on: an error must not switch one off.</summary>
    public static DetectorSet Of(IReadOnlyList<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        var kinds = Detectors.None;
        foreach (var name in names)
        {
            kinds |= Names.TryGetValue(name, out var kind) ? kind : Detectors.All;
        }

        return kinds == Detectors.None ? None : kinds == Detectors.All ? All : new DetectorSet(kinds);
    }

    /// <summary>The vectorised pre-filter: false where nothing can be found in these bytes. Meant for a whole row with its length fields in between.</summary>
    public bool MayContain(ReadOnlySpan<byte> row) =>
        ((_kinds & Detectors.Email) != 0 && row.Contains((byte)'@'))
        || ((_kinds & Numeric) != 0 && NumberScan.HasLongRun(row))
        || ((_kinds & Detectors.Token) != 0 && TokenScan.HasLongRun(row));

    /// <summary>Whether anything is found in one value.</summary>
    public bool Finds(ReadOnlySpan<byte> value)
    {
        var from = 0;
        return Next(value, ref from, out _, out _) != Detectors.None;
    }

    /// <summary>Overwrites every finding in one value. Returns how many there were.</summary>
    /// <param name="value">The value, changed in place, never in length.</param>
    /// <param name="digit">What digits become: <c>*</c>, or <c>0</c> where the value's type is a number.</param>
    public int MaskInPlace(Span<byte> value, byte digit = (byte)'*')
    {
        var found = 0;
        var from = 0;
        while (Next(value, ref from, out var at, out var length) != Detectors.None)
        {
            found++;
            foreach (ref var unit in value.Slice(at, length))
            {
                if (char.IsAsciiDigit((char)unit))
                {
                    unit = digit;
                }
                else if (unit >= 0x80 || char.IsAsciiLetter((char)unit))
                {
                    unit = (byte)'*';
                }
            }
        }

        return found;
    }

    // One pass a kind would miss nothing either, but findings may overlap (a token holds digits), so the earliest wins and the scan goes on behind it.
    private Detectors Next(ReadOnlySpan<byte> value, ref int from, out int at, out int length)
    {
        var kind = Detectors.None;
        at = value.Length;
        length = 0;
        if ((_kinds & Detectors.Token) != 0 && TokenScan.Next(value, from, out var start, out var count))
        {
            (kind, at, length) = (Detectors.Token, start, count);
        }

        if ((_kinds & Detectors.Email) != 0 && EmailScan.Next(value, from, out start, out count) && start < at)
        {
            (kind, at, length) = (Detectors.Email, start, count);
        }

        if ((_kinds & Numeric) != 0)
        {
            var number = NumberScan.Next(value, from, _kinds, out start, out count);
            if (number != Detectors.None && start < at)
            {
                (kind, at, length) = (number, start, count);
            }
        }

        from = at + length;
        return kind;
    }
}
