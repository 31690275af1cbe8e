using Spectre.Console;

namespace Countersign.Cli.Output;

/// <summary>What a command prints: one JSON document (or JSON lines), tables for people, plain columns for pipes.</summary>
internal sealed class CliOutput
{
    private readonly CliHost _host;
    private readonly IAnsiConsole _console;

    public CliOutput(CliHost host, bool json)
    {
        _host = host;
        IsJson = json;
        var styled = host.OutputIsTerminal && string.IsNullOrEmpty(host.Variable("NO_COLOR")) && host.Variable("TERM") != "dumb";
        _console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = styled ? AnsiSupport.Yes : AnsiSupport.No,
            ColorSystem = styled ? ColorSystemSupport.Standard : ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.No,
            Out = new AnsiConsoleOutput(host.Out),
        });
    }

    public bool IsJson { get; }

    public void Json<T>(T value) => _host.Out.WriteLine(CliJson.Print(value, indented: true));

    public void JsonLine<T>(T value) => _host.Out.WriteLine(CliJson.Print(value, indented: false));

    /// <summary>Prints a line of the program's own words; what came from elsewhere goes through <see cref="TerminalText"/> here.</summary>
    public void Line(string text = "") => _host.Out.WriteLine(TerminalText.Line(text));

    public void Heading(string text)
    {
        if (_host.OutputIsTerminal)
        {
            _console.MarkupLineInterpolated($"[bold]{TerminalText.Line(text)}[/]");
        }
        else
        {
            Line(text);
        }
    }

    /// <summary>Prints names and values under one another; empty values are left out.</summary>
    public void Fields(params (string Name, string? Value)[] fields)
    {
        var present = fields.Where(field => !string.IsNullOrEmpty(field.Value)).ToList();
        var width = present.Count == 0 ? 0 : present.Max(field => field.Name.Length);
        foreach (var (name, value) in present)
        {
            _host.Out.WriteLine($"{name.PadRight(width)}  {TerminalText.Line(value!)}");
        }
    }

    /// <summary>Prints an exact text with a gutter, so that no text can pass for what the program says about it.</summary>
    public void Exact(string text, string indent = "")
    {
        foreach (var line in TerminalText.Lines(text))
        {
            _host.Out.WriteLine($"{indent}  | {line}");
        }
    }

    /// <summary>Prints rows: a table on a terminal, else columns two blanks apart under a line of names.</summary>
    public void Table(IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<string>> rows)
    {
        var visible = rows.Select(row => row.Select(TerminalText.Line).ToList()).ToList();
        if (_host.OutputIsTerminal)
        {
            var table = new Table().Border(TableBorder.Rounded).AddColumns([.. columns.Select(Column)]);
            foreach (var row in visible)
            {
                table.AddRow(row.Select(cell => new Text(cell)));
            }

            _console.Write(table);
            return;
        }

        var widths = columns.Select((column, index) => Math.Max(column.Length, visible.Count == 0 ? 0 : visible.Max(row => row[index].Length))).ToList();
        foreach (var row in visible.Prepend([.. columns.Select(column => column.ToUpperInvariant())]))
        {
            _host.Out.WriteLine(string.Join("  ", row.Select((cell, index) => cell.PadRight(widths[index]))).TrimEnd());
        }
    }

    // The first column names the row and is what people copy: it is not broken into lines.
    private static TableColumn Column(string name, int index) => new(new Text(name)) { NoWrap = index == 0 };

    /// <summary>Something to know that is not the answer; to stderr, so that pipes stay clean.</summary>
    public void Notice(string text) => _host.Error.WriteLine(TerminalText.Line(text));

    public static string Time(DateTimeOffset time) => time.ToUniversalTime().ToString("yyyy-MM-dd HH:mm:ss'Z'", System.Globalization.CultureInfo.InvariantCulture);

    public static string Time(DateTimeOffset? time) => time is { } value ? Time(value) : "";

    /// <summary>The first line of a text, for a table; a text that goes on says so.</summary>
    public static string Brief(string text, int longest = 80)
    {
        var flat = string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return flat.Length <= longest ? flat : string.Concat(flat.AsSpan(0, longest), "…");
    }
}
