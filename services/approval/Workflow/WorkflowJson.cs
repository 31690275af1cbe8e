using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Countersign.Approval.Workflow;

/// <summary>How documents are persisted (docs/formats/approval-request.md).</summary>
public static class WorkflowJson
{
    /// <summary>camelCase, enumerations by name, null members left out.</summary>
    public static JsonSerializerOptions Options { get; } = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,

        // Read by programs only, never put into a page: a character outside ASCII takes its two to four bytes, not six for each half.
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };
}
