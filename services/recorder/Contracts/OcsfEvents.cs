using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Countersign.Recorder.Contracts;

/// <summary>
/// Audit events as they leave on topic <c>audit</c>: a body of the Open Cybersecurity Schema Framework (OCSF 1.8.0), which a SIEM reads as it is. The event itself
/// goes along unchanged in <c>unmapped.countersign</c>: that is what is recorded. Layout: docs/formats/audit-event.md.
/// </summary>
public static class OcsfEvents
{
    /// <summary>CloudEvents type of an audit event.</summary>
    public const string EventType = "countersign.audit";

    /// <summary>Version of the schema.</summary>
    public const string SchemaVersion = "1.8.0";

    private const int Authentication = 3002;
    private const int AccountChange = 3001;
    private const int EntityManagement = 3004;
    private const int ApiActivity = 6003;
    private const int Other = 99;

    // Nothing but JSON is made of it: what JSON needn't escape is left readable.
    private static readonly JsonSerializerOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The body for the topic.</summary>
    public static byte[] Write(AuditEvent audit)
    {
        ArgumentNullException.ThrowIfNull(audit);
        var (type, activity) = Classify(audit.Action);
        var body = new JsonObject
        {
            ["activity_id"] = activity,
            ["category_uid"] = type / 1000,
            ["class_uid"] = type,
            ["type_uid"] = (type * 100) + activity,
            ["time"] = audit.At.ToUnixTimeMilliseconds(),
            ["severity_id"] = Severity(audit),
            ["status_id"] = audit.Success ? 1 : 2,
            ["message"] = audit.Action,
            ["metadata"] = new JsonObject
            {
                ["version"] = SchemaVersion,
                ["uid"] = audit.Id,
                ["event_code"] = audit.Action,
                ["product"] = new JsonObject { ["name"] = "Countersign", ["vendor_name"] = "Countersign", ["feature"] = new JsonObject { ["name"] = audit.Service } },
            },
            ["actor"] = Actor(audit),
        };
        switch (type)
        {
            case Authentication:
                body["user"] = User(audit.Person, audit.Name);
                body["service"] = new JsonObject { ["name"] = audit.Service };
                break;
            case AccountChange:
                body["user"] = User(audit.Subject, "");
                break;
            case EntityManagement:
                body["entity"] = new JsonObject { ["uid"] = audit.Subject.Length > 0 ? audit.Subject : audit.Service, ["type"] = audit.Action.Split('.')[0] };
                break;
            default:
                body["api"] = new JsonObject { ["operation"] = audit.Action, ["service"] = new JsonObject { ["name"] = audit.Service } };
                body["src_endpoint"] = new JsonObject { ["svc_name"] = audit.Service };
                if (audit.Subject.Length > 0)
                {
                    body["resources"] = new JsonArray(new JsonObject { ["uid"] = audit.Subject });
                }

                break;
        }

        body["unmapped"] = new JsonObject { ["countersign"] = JsonSerializer.SerializeToNode(audit, JsonSerializerOptions.Web) };
        return JsonSerializer.SerializeToUtf8Bytes(body, Plain);
    }

    /// <summary>The event in a body of the topic; a bare event, as services wrote it before there were bodies, is read too.</summary>
    /// <exception cref="JsonException">It is neither.</exception>
    public static AuditEvent Read(ReadOnlySpan<byte> body)
    {
        var reader = new Utf8JsonReader(body);
        var root = JsonElement.ParseValue(ref reader);
        var audit = root.ValueKind == JsonValueKind.Object && root.TryGetProperty("unmapped", out var unmapped)
            ? unmapped.ValueKind == JsonValueKind.Object && unmapped.TryGetProperty("countersign", out var inside) ? inside : throw new JsonException("The body has no event of Countersign.")
            : root;
        return audit.Deserialize<AuditEvent>(JsonSerializerOptions.Web) ?? throw new JsonException("There is no event.");
    }

    /// <summary>Class and activity of an action. What isn't named here is a call of a service's interface.</summary>
    internal static (int Class, int Activity) Classify(string action) => action switch
    {
        "login" or "login.refused" => (Authentication, 1),
        "session.revoked" => (Authentication, 2),
        "person.disabled" => (AccountChange, 5),
        "person.enrolled" or "bootstrap.used" => (EntityManagement, 6),
        "person.enrolment-withdrawn" => (EntityManagement, 7),
        "bootstrap.reopened" => (EntityManagement, 8),
        "credential.created" => (EntityManagement, 1),
        "credential.revoked" => (EntityManagement, 9),
        "bundle.activated" => (EntityManagement, 10),
        _ when action.StartsWith("bundle.", StringComparison.Ordinal) => (EntityManagement, 3),
        _ when action.StartsWith("person.", StringComparison.Ordinal) || action.StartsWith("persons.", StringComparison.Ordinal) => (EntityManagement, 3),
        "request.opened" => (ApiActivity, 1),
        _ when action.StartsWith("request.", StringComparison.Ordinal) || action.StartsWith("change.", StringComparison.Ordinal) => (ApiActivity, 3),
        _ => (ApiActivity, Other),
    };

    // 1 informational, 3 medium, 4 high.
    private static int Severity(AuditEvent audit) =>
        audit.Details.GetValueOrDefault("severity") == "high" || audit.Action == "bootstrap.reopened" ? 4 : audit.Success ? 1 : 3;

    private static JsonObject Actor(AuditEvent audit) => audit.Person.Length == 0 && audit.Name.Length == 0
        ? new JsonObject { ["app_name"] = audit.Service }
        : new JsonObject { ["user"] = User(audit.Person, audit.Name) };

    private static JsonObject User(string person, string name)
    {
        var user = new JsonObject();
        if (person.Length > 0)
        {
            user["uid"] = person;
        }

        if (name.Length > 0 || person.Length == 0)
        {
            user["name"] = name.Length > 0 ? name : "unknown";
        }

        return user;
    }
}
