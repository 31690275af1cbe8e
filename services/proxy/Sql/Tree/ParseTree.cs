using System.Buffers;
using System.Text;
using System.Text.Json;

namespace Countersign.Proxy.Sql.Tree;

/// <summary>What a tree element is.</summary>
internal enum TreeKind : byte
{
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

/// <summary>One element of a tree: an object, an array or a value, with the name that it has in its object.</summary>
internal struct TreeElement
{
    public NodeName Name;
    public TreeKind Kind;
    public bool Escaped;
    /// <summary>Slice of the JSON for strings and numbers.</summary>
    public int Start;
    public int Length;
    /// <summary>First child, 0 for none.</summary>
    public int First;
    /// <summary>Next sibling, 0 for none.</summary>
    public int Next;
    /// <summary>Behind its last descendant: elements are in document order.</summary>
    public int End;
}

/// <summary>A parse tree in one array, read from libpg_query's JSON without recursion: its depth is the attacker's choice. Valid as long as the JSON is.</summary>
internal ref struct ParseTree
{
    /// <summary>More elements than any text within the bounds needs; what has more is not understood.</summary>
    private const int MostElements = 12_000_000;

    private readonly ReadOnlySpan<byte> json;
    private TreeElement[] elements;
    private int count;

    private ParseTree(ReadOnlySpan<byte> json)
    {
        this.json = json;
        elements = ArrayPool<TreeElement>.Shared.Rent(Math.Clamp(json.Length / 8, 128, 1 << 20));
        elements[0] = default;
        count = 1;
    }

    /// <summary>The root; element 0 stands for "none".</summary>
    public const int Root = 1;

    /// <summary>True where a name is met that isn't known.</summary>
    public bool HasUnknownNames { get; private set; }

    public readonly ref TreeElement this[int index] => ref elements[index];

    /// <summary>Reads a tree. Throws <see cref="JsonException"/> where it isn't JSON (it always is for valid UTF-8) or too large.</summary>
    public static ParseTree Read(ReadOnlySpan<byte> json)
    {
        var tree = new ParseTree(json);
        try
        {
            tree.Fill();
            return tree;
        }
        catch
        {
            tree.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        if (elements is { } rented)
        {
            elements = null!;
            ArrayPool<TreeElement>.Shared.Return(rented);
        }
    }

    /// <summary>The child of a name, 0 for none.</summary>
    public readonly int Child(int parent, NodeName name)
    {
        for (var child = elements[parent].First; child != 0; child = elements[child].Next)
        {
            if (elements[child].Name == name)
            {
                return child;
            }
        }

        return 0;
    }

    /// <summary>The type of a wrapped node (an object whose only field is named by its type); Unknown for anything else.</summary>
    public readonly NodeName TypeOf(int node)
    {
        if (node == 0 || elements[node].Kind != TreeKind.Object || elements[node].First == 0)
        {
            return NodeName.Unknown;
        }

        var name = elements[elements[node].First].Name;
        return NameTable.IsType(name) ? name : NodeName.Unknown;
    }

    /// <summary>The fields of a wrapped node.</summary>
    public readonly int Unwrap(int node) => elements[node].First;

    /// <summary>A string or number as text; null for none.</summary>
    public readonly string? Text(int element)
    {
        if (element == 0 || elements[element].Kind is not (TreeKind.String or TreeKind.Number))
        {
            return null;
        }

        ref var value = ref elements[element];
        var slice = json.Slice(value.Start, value.Length);
        if (!value.Escaped)
        {
            return Encoding.UTF8.GetString(slice);
        }

        var reader = new Utf8JsonReader(json.Slice(value.Start - 1, value.Length + 2));
        reader.Read();
        return reader.GetString();
    }

    /// <summary>The text of a field; null where it is absent.</summary>
    public readonly string? Text(int parent, NodeName name) => Text(Child(parent, name));

    /// <summary>Whether a string field has a value, without making a string of it.</summary>
    public readonly bool Is(int parent, NodeName name, ReadOnlySpan<byte> value)
    {
        var child = Child(parent, name);
        return child != 0 && json.Slice(elements[child].Start, elements[child].Length).SequenceEqual(value);
    }

    /// <summary>Whether a boolean field is true; absent means false.</summary>
    public readonly bool Flag(int parent, NodeName name)
    {
        var child = Child(parent, name);
        return child != 0 && elements[child].Kind == TreeKind.True;
    }

    /// <summary>An integer field; 0 where it is absent, as the library leaves out defaults.</summary>
    public readonly int Number(int parent, NodeName name)
    {
        var child = Child(parent, name);
        return child != 0 && System.Buffers.Text.Utf8Parser.TryParse(json.Slice(elements[child].Start, elements[child].Length), out int number, out _) ? number : 0;
    }

    private void Fill()
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = int.MaxValue / 2 });
        var open = new Stack<int>();
        var parent = 0;
        var last = 0;
        var name = NodeName.Unknown;
        while (reader.Read())
        {
            switch (reader.TokenType)
            {
                case JsonTokenType.PropertyName:
                    name = NameTable.Find(reader.ValueSpan);
                    if (name == NodeName.location)
                    {
                        reader.Skip();
                        name = NodeName.Unknown;
                        continue;
                    }

                    HasUnknownNames |= name == NodeName.Unknown;
                    continue;
                case JsonTokenType.EndObject or JsonTokenType.EndArray:
                    elements[parent].End = count;
                    last = parent;
                    parent = open.Pop();
                    continue;
            }

            var element = Add();
            ref var added = ref elements[element];
            added = default;
            added.Name = name;
            added.End = count;
            name = NodeName.Unknown;
            if (last != 0)
            {
                elements[last].Next = element;
            }
            else if (parent != 0)
            {
                elements[parent].First = element;
            }

            last = element;
            switch (reader.TokenType)
            {
                case JsonTokenType.StartObject or JsonTokenType.StartArray:
                    added.Kind = reader.TokenType == JsonTokenType.StartObject ? TreeKind.Object : TreeKind.Array;
                    open.Push(parent);
                    parent = element;
                    last = 0;
                    break;
                case JsonTokenType.String or JsonTokenType.Number:
                    added.Kind = reader.TokenType == JsonTokenType.String ? TreeKind.String : TreeKind.Number;
                    added.Start = (int)reader.TokenStartIndex + (reader.TokenType == JsonTokenType.String ? 1 : 0);
                    added.Length = reader.ValueSpan.Length;
                    added.Escaped = reader.ValueIsEscaped;
                    break;
                default:
                    added.Kind = reader.TokenType switch
                    {
                        JsonTokenType.True => TreeKind.True,
                        JsonTokenType.False => TreeKind.False,
                        _ => TreeKind.Null,
                    };
                    break;
            }
        }
    }

    private int Add()
    {
        if (count == elements.Length)
        {
            if (count >= MostElements)
            {
                throw new JsonException("The tree has too many elements.");
            }

            var larger = ArrayPool<TreeElement>.Shared.Rent(elements.Length * 2);
            Array.Copy(elements, larger, count);
            ArrayPool<TreeElement>.Shared.Return(elements);
            elements = larger;
        }

        return count++;
    }
}
