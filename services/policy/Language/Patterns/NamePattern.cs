using System.Diagnostics.CodeAnalysis;
using System.Text;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Language.Patterns;

/// <summary>A possibly qualified name with globs: <c>schema.name</c>, or <c>name</c>, which means <c>*.name</c>. A part in double quotes is taken literally.</summary>
public readonly record struct NamePattern(Glob Schema, Glob Name, bool SchemaLiteralQuoted = false, bool NameLiteralQuoted = false, bool Excludes = false)
{
    /// <summary>
    /// Whether a list of patterns takes a name: one matches and none that excludes (a leading <c>!</c>). Where a match lets something pass
    /// (<paramref name="certain"/>) it must be certain, and an exclusion only possible; where it makes a decision stricter, the other way round.
    /// </summary>
    public static bool Takes(IReadOnlyList<NamePattern> list, in ObjectName name, bool certain)
    {
        ArgumentNullException.ThrowIfNull(list);
        var taken = false;
        for (var i = 0; i < list.Count; i++)
        {
            if (list[i].Excludes != certain ? list[i].MustMatch(name) : list[i].MayMatch(name))
            {
                if (list[i].Excludes)
                {
                    return false;
                }

                taken = true;
            }
        }

        return taken;
    }

    /// <summary>
    /// Whether a name that the text uses could be one that this pattern means. A name without a schema can be in any: the search path is not
    /// part of the facts. Used where a match makes a decision stricter.
    /// </summary>
    public bool MayMatch(in ObjectName name) => Matches(Name, NameLiteralQuoted, name.Name) && (name.Schema is null || Matches(Schema, SchemaLiteralQuoted, name.Schema));

    /// <summary>
    /// Whether a name that the text uses is certainly one that this pattern means: a name without a schema only if the pattern takes any schema.
    /// Used where a match lets something pass.
    /// </summary>
    public bool MustMatch(in ObjectName name) =>
        Matches(Name, NameLiteralQuoted, name.Name)
        && (name.Schema is null ? Schema.IsAny && !SchemaLiteralQuoted : Matches(Schema, SchemaLiteralQuoted, name.Schema));

    /// <summary>Reads a pattern.</summary>
    /// <param name="text">As written.</param>
    /// <param name="pattern">The pattern.</param>
    /// <param name="error">What is wrong with it.</param>
    public static bool TryParse(string text, out NamePattern pattern, [NotNullWhen(false)] out string? error)
    {
        ArgumentNullException.ThrowIfNull(text);
        pattern = default;
        var excludes = text.StartsWith('!');
        if (!TrySplit(excludes ? text[1..] : text, 2, out var parts, out error))
        {
            return false;
        }

        pattern = parts.Count == 1
            ? new NamePattern(new Glob("*"), new Glob(parts[0].Text), false, parts[0].Quoted, excludes)
            : new NamePattern(new Glob(parts[0].Text), new Glob(parts[1].Text), parts[0].Quoted, parts[1].Quoted, excludes);
        return true;
    }

    /// <summary>Splits a dotted name into its parts; double quotes protect dots and wildcards.</summary>
    internal static bool TrySplit(string text, int most, out IReadOnlyList<NamePart> parts, [NotNullWhen(false)] out string? error)
    {
        var list = new List<NamePart>();
        parts = list;
        var position = 0;
        while (true)
        {
            var part = new StringBuilder();
            var quoted = position < text.Length && text[position] == '"';
            if (quoted)
            {
                position++;
                while (true)
                {
                    if (position >= text.Length)
                    {
                        error = $"'{text}' has a double quote that is not closed.";
                        return false;
                    }

                    if (text[position] == '"')
                    {
                        if (position + 1 < text.Length && text[position + 1] == '"')
                        {
                            position++;
                        }
                        else
                        {
                            position++;
                            break;
                        }
                    }

                    part.Append(text[position++]);
                }
            }
            else
            {
                while (position < text.Length && text[position] != '.')
                {
                    var c = text[position++];
                    if (c == '"' || char.IsWhiteSpace(c) || char.IsControl(c))
                    {
                        error = $"'{text}' is not a name: put it in double quotes where it has blanks or quotes.";
                        return false;
                    }

                    part.Append(c);
                }
            }

            if (part.Length == 0)
            {
                error = $"'{text}' has an empty part.";
                return false;
            }

            list.Add(new NamePart(part.ToString(), quoted));
            if (position == text.Length)
            {
                break;
            }

            if (text[position] != '.' || list.Count == most)
            {
                error = $"'{text}' must have at most {most} parts, separated by dots.";
                return false;
            }

            position++;
        }

        error = null;
        return true;
    }

    /// <inheritdoc/>
    public override string ToString() => $"{(Excludes ? "!" : "")}{Quote(Schema.Pattern, SchemaLiteralQuoted)}.{Quote(Name.Pattern, NameLiteralQuoted)}";

    private static string Quote(string text, bool quoted) => quoted ? $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : text;

    private static bool Matches(Glob glob, bool literal, string text) => literal ? string.Equals(glob.Pattern, text, StringComparison.Ordinal) : glob.IsMatch(text);
}

/// <summary>One part of a dotted name.</summary>
internal readonly record struct NamePart(string Text, bool Quoted);
