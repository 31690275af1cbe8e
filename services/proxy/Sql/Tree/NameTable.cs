namespace Countersign.Proxy.Sql.Tree;

/// <summary>Finds the <see cref="NodeName"/> of a UTF-8 name without allocating.</summary>
internal static class NameTable
{
    private const int Size = 4096;
    private static readonly byte[][] Names = new byte[Size][];
    private static readonly NodeName[] Values = new NodeName[Size];
    private static readonly NodeName LastType = LastTypeName();

    static NameTable()
    {
        foreach (var value in Enum.GetValues<NodeName>())
        {
            if (value == NodeName.Unknown)
            {
                continue;
            }

            var name = System.Text.Encoding.UTF8.GetBytes(value.ToString());
            var slot = Hash(name);
            while (Names[slot] is not null)
            {
                slot = (slot + 1) & (Size - 1);
            }

            Names[slot] = name;
            Values[slot] = value;
        }
    }

    public static NodeName Find(ReadOnlySpan<byte> name)
    {
        var slot = Hash(name);
        while (Names[slot] is { } candidate)
        {
            if (name.SequenceEqual(candidate))
            {
                return Values[slot];
            }

            slot = (slot + 1) & (Size - 1);
        }

        return NodeName.Unknown;
    }

    /// <summary>Whether it names a node type, not a field.</summary>
    public static bool IsType(NodeName name) => name != NodeName.Unknown && name <= LastType;

    private static NodeName LastTypeName() =>
        // Types begin with a capital letter, fields never do.
        Enum.GetValues<NodeName>().Where(value => value != NodeName.Unknown && char.IsAsciiLetterUpper(value.ToString()[0])).Max();

    private static int Hash(ReadOnlySpan<byte> name)
    {
        var hash = 2166136261u;
        foreach (var b in name)
        {
            hash = (hash ^ b) * 16777619u;
        }

        return (int)((hash ^ (hash >> 15)) & (Size - 1));
    }
}
