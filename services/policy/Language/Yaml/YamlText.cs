using System.Globalization;
using System.Text;

namespace Countersign.Policy.Language.Yaml;

/// <summary>
/// Nodes as text without places: two nodes with the same text decode to the same. Lengths keep values apart, and keys stay in their order, so that
/// nodes that mean the same may differ, but never the other way round.
/// </summary>
internal static class YamlText
{
    internal static string Of(YamlNode node)
    {
        var text = new StringBuilder();
        Append(text, node);
        return text.ToString();
    }

    private static void Append(StringBuilder text, YamlNode node)
    {
        switch (node)
        {
            case YamlScalar scalar:
                text.Append(scalar.Plain ? 'p' : 'q').Append(scalar.Value.Length.ToString(CultureInfo.InvariantCulture)).Append(':').Append(scalar.Value);
                break;
            case YamlList list:
                text.Append('[');
                foreach (var item in list.Items)
                {
                    Append(text, item);
                }

                text.Append(']');
                break;
            case YamlMap map:
                text.Append('{');
                foreach (var entry in map.Entries)
                {
                    Append(text, entry.Key);
                    Append(text, entry.Value);
                }

                text.Append('}');
                break;
            default:
                throw new InvalidOperationException("There is no such node.");
        }
    }
}
