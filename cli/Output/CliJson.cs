using System.Text.Json;
using System.Text.Json.Serialization;

namespace Countersign.Cli.Output;

/// <summary>JSON on the wire and on stdout: camelCase, enumerations by name. The encoder escapes everything outside ASCII, so that what a terminal shows is inert.</summary>
internal static class CliJson
{
    public static readonly JsonSerializerOptions Wire = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    public static readonly JsonSerializerOptions Document = new(Wire) { WriteIndented = true };
}
