using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Countersign.Policy.Language.Yaml;

/// <summary>Reads YAML text into nodes, strictly and within bounds. Nothing that could expand (aliases) or change types (tags) is accepted.</summary>
internal static class YamlReader
{
    internal const int MaxCharacters = 512 * 1024;
    internal const int MaxDepth = 16;
    internal const int MaxNodes = 50_000;
    internal const int MaxDocuments = 500;

    /// <summary>The documents of one file. Syntax errors end the reading: what follows them can't be trusted to mean what it says.</summary>
    internal static IReadOnlyList<YamlNode> Read(string file, string text, DiagnosticBag errors)
    {
        var documents = new List<YamlNode>();
        if (text.Length > MaxCharacters)
        {
            errors.Add(new SourcePosition(file, 1, 1), "too-large", $"A policy file has at most {MaxCharacters} characters; this one has {text.Length}.");
            return documents;
        }

        var run = new Run(file, text, errors);
        try
        {
            while (run.NextDocument() is { } document)
            {
                if (documents.Count == MaxDocuments)
                {
                    errors.Add(document.At, "too-large", $"A policy file has at most {MaxDocuments} documents.");
                    break;
                }

                documents.Add(document);
            }
        }
        catch (YamlStop)
        {
            // Already reported by the run.
        }
        catch (YamlException error)
        {
            errors.Add(Position(file, error.Start), "yaml", $"Not valid YAML: {OneLine(error.Message)}");
        }
        catch (Exception error) when (error is ArgumentException or InvalidOperationException or IndexOutOfRangeException or OverflowException or FormatException)
        {
            // The YAML library is not ours: what it throws on hostile input beside its own exception is an error of the input all the same.
            errors.Add(new SourcePosition(file, 1, 1), "yaml", $"Not valid YAML: {OneLine(error.Message)}");
        }

        return documents;
    }

    private static SourcePosition Position(string file, Mark mark) => new(file, (int)Math.Clamp(mark.Line, 1, int.MaxValue), (int)Math.Clamp(mark.Column, 1, int.MaxValue));

    private static string OneLine(string message) => message.ReplaceLineEndings(" ");

    private sealed class YamlStop : Exception;

    private sealed class Run
    {
        private readonly string _file;
        private readonly Parser _parser;
        private readonly DiagnosticBag _errors;
        private int _nodes;

        internal Run(string file, string text, DiagnosticBag errors)
        {
            _file = file;
            _errors = errors;
            _parser = new Parser(new StringReader(text));
        }

        internal YamlNode? NextDocument()
        {
            while (_parser.MoveNext())
            {
                switch (_parser.Current)
                {
                    case DocumentStart:
                        var node = Node(Next(), 0);
                        if (node is YamlScalar { Plain: true, Value: "" })
                        {
                            // An empty document, as after a trailing separator.
                            continue;
                        }

                        return node;
                    case StreamStart or StreamEnd or DocumentEnd or Comment:
                        continue;
                    case { } other:
                        throw Stop(other.Start, "yaml", "Not valid YAML: a document was expected.");
                    default:
                        return null;
                }
            }

            return null;
        }

        private ParsingEvent Next()
        {
            while (_parser.MoveNext())
            {
                if (_parser.Current is not (null or Comment))
                {
                    return _parser.Current;
                }
            }

            throw Stop(_parser.Current?.Start ?? Mark.Empty, "yaml", "Not valid YAML: the file ends too early.");
        }

        private YamlNode Node(ParsingEvent current, int depth)
        {
            if (++_nodes > MaxNodes)
            {
                throw Stop(current.Start, "too-large", $"A policy file has at most {MaxNodes} values.");
            }

            if (depth > MaxDepth)
            {
                throw Stop(current.Start, "too-deep", $"Values are nested at most {MaxDepth} deep.");
            }

            if (current is AnchorAlias)
            {
                throw Stop(current.Start, "alias", "Aliases (*name) are not supported: write the value out.");
            }

            if (current is not NodeEvent node)
            {
                throw Stop(current.Start, "yaml", "Not valid YAML: a value was expected.");
            }

            if (!node.Anchor.IsEmpty)
            {
                throw Stop(current.Start, "anchor", "Anchors (&name) are not supported.");
            }

            if (!node.Tag.IsEmpty)
            {
                throw Stop(current.Start, "tag", "Tags (!name) are not supported.");
            }

            var at = Position(_file, current.Start);
            switch (current)
            {
                case Scalar scalar:
                    return new YamlScalar(at, scalar.Value, scalar.Style == ScalarStyle.Plain);
                case SequenceStart:
                    var items = new List<YamlNode>();
                    for (var item = Next(); item is not SequenceEnd; item = Next())
                    {
                        items.Add(Node(item, depth + 1));
                    }

                    return new YamlList(at, items);
                case MappingStart:
                    return Map(at, depth);
                default:
                    throw Stop(current.Start, "yaml", "Not valid YAML: a value was expected.");
            }
        }

        private YamlMap Map(SourcePosition at, int depth)
        {
            var entries = new List<YamlEntry>();
            var seen = new HashSet<string>(StringComparer.Ordinal);
            for (var item = Next(); item is not MappingEnd; item = Next())
            {
                var key = Node(item, depth + 1);
                var value = Node(Next(), depth + 1);
                if (key is not YamlScalar name)
                {
                    _errors.Add(key.At, "wrong-type", "A key must be text.");
                }
                else if (!seen.Add(name.Value))
                {
                    _errors.Add(name.At, "duplicate-key", $"The key '{name.Value}' stands here twice.");
                }
                else
                {
                    entries.Add(new YamlEntry(name, value));
                }
            }

            return new YamlMap(at, entries);
        }

        private YamlStop Stop(Mark mark, string code, string message)
        {
            _errors.Add(Position(_file, mark), code, message);
            return new YamlStop();
        }
    }
}
