namespace Countersign.EndToEnd.Tests.Guides;

/// <summary>A fenced block of a guide that is played.</summary>
/// <param name="Line">Line of its first content, from 1.</param>
/// <param name="Kind"><c>yaml</c>, <c>sql</c>, <c>psql</c> or <c>console</c>.</param>
/// <param name="Name">File name, or person.</param>
/// <param name="Lines">Its content.</param>
public sealed record GuideBlock(int Line, string Kind, string Name, IReadOnlyList<string> Lines);

/// <summary>
/// A guide as a program. <c>```yaml FILE</c> and <c>```sql FILE</c> are files in the reader's folder; <c>```psql PERSON</c> is what that person's one psql session shows, with
/// what is typed behind its prompt; <c>```console PERSON</c> is what that person's shell shows, commands behind <c>$ </c>. Any other block is an error: nothing in a guide is unproved.
/// </summary>
public static class Guide
{
    private const string Fence = "```";

    /// <summary>Reads the blocks of a guide.</summary>
    /// <exception cref="FormatException">A block that couldn't be played, or isn't closed.</exception>
    public static IReadOnlyList<GuideBlock> Read(string text)
    {
        var blocks = new List<GuideBlock>();
        var lines = text.Split('\n');
        for (var at = 0; at < lines.Length; at++)
        {
            if (!lines[at].StartsWith(Fence, StringComparison.Ordinal))
            {
                continue;
            }

            var first = at + 1;
            var words = lines[at][Fence.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words is not ["yaml" or "sql" or "psql" or "console", _])
            {
                throw new FormatException($"line {first}: a block is ```yaml FILE, ```sql FILE, ```psql PERSON or ```console PERSON, not {lines[at]}");
            }

            var end = Array.FindIndex(lines, first, line => line == Fence);
            if (end < 0)
            {
                throw new FormatException($"line {first}: the block has no end");
            }

            blocks.Add(new GuideBlock(first + 1, words[0], words[1], lines[first..end]));
            at = end;
        }

        return blocks;
    }

    /// <summary>Cuts a session into what is typed and what is then shown; what is shown before anything is typed comes with nothing typed.</summary>
    /// <param name="lines">Lines of the block.</param>
    /// <param name="typed">What is typed in a line, or null.</param>
    public static IReadOnlyList<(string? Input, IReadOnlyList<string> Output)> Exchanges(IReadOnlyList<string> lines, Func<string, string?> typed)
    {
        var exchanges = new List<(string? Input, List<string> Output)>();
        foreach (var line in lines)
        {
            if (typed(line) is { } input)
            {
                exchanges.Add((input, []));
            }
            else
            {
                if (exchanges.Count == 0)
                {
                    exchanges.Add((null, []));
                }

                exchanges[^1].Output.Add(line);
            }
        }

        return [.. exchanges.Select(each => (each.Input, (IReadOnlyList<string>)each.Output))];
    }

    /// <summary>Whether a line is what the guide shows: <c>…</c> stands for anything.</summary>
    public static bool Fits(string shown, string line)
    {
        var parts = shown.TrimEnd().Split('…');
        line = line.TrimEnd();
        if (parts.Length == 1)
        {
            return shown.TrimEnd() == line;
        }

        if (!line.StartsWith(parts[0], StringComparison.Ordinal) || line.Length < parts[0].Length + parts[^1].Length || !line.EndsWith(parts[^1], StringComparison.Ordinal))
        {
            return false;
        }

        var from = parts[0].Length;
        foreach (var part in parts[1..^1])
        {
            var found = line.IndexOf(part, from, line.Length - parts[^1].Length - from, StringComparison.Ordinal);
            if (found < 0)
            {
                return false;
            }

            from = found + part.Length;
        }

        return true;
    }
}
