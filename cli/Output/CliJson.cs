using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Countersign.Cli.Output;

/// <summary>JSON on the wire and on stdout: camelCase, enumerations by name.</summary>
internal static class CliJson
{
    public static readonly JsonSerializerOptions Wire = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    // Relaxed: the default escapes '<', '+' and quotes for HTML, which makes SQL unreadable. What is left to escape is done in Print.
    private static readonly JsonSerializerOptions OneLine = new(Wire) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private static readonly JsonSerializerOptions Indented = new(OneLine) { WriteIndented = true };

    /// <summary>For stdout: plain printable ASCII, so that what a terminal shows is inert.</summary>
    public static string Print<T>(T value, bool indented)
    {
        var json = JsonSerializer.Serialize(value, indented ? Indented : OneLine);
        var result = new StringBuilder(json.Length + 16);
        foreach (var unit in json)
        {
            // Outside of ASCII a unit can only stand in a string; control characters below DEL are escaped already.
            if (unit >= '\u007f')
            {
                result.Append(CultureInfo.InvariantCulture, $"\\u{(int)unit:x4}");
            }
            else
            {
                result.Append(unit);
            }
        }

        return result.ToString();
    }
}
