using System.Text;
using System.Text.Json;
using Countersign.Recorder.Contracts;

namespace Countersign.Recorder.Tests;

/// <summary>Freezes docs/formats/audit-event.md, and holds every body against what OCSF 1.8.0 requires of its class.</summary>
[Trait("group", "evidence")]
public sealed class OcsfTests
{
    private static readonly string[] OfAll = ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];

    // Class to what it requires beside that, and the activities that it knows (0 and 99 always).
    private static readonly Dictionary<int, (string[] Required, int Activities)> Classes = new()
    {
        [3001] = (["user"], 12),
        [3002] = (["user", "service"], 7),
        [3004] = (["entity"], 13),
        [6003] = (["actor", "api", "src_endpoint"], 4),
    };

    private static AuditEvent Event(string action) => new()
    {
        Id = "aud_1",
        Service = "approval",
        Action = action,
        At = DateTimeOffset.FromUnixTimeMilliseconds(1_764_000_000_123),
        Person = "per_bob",
        Name = "bob@example.com",
        Subject = "apr_1",
        Details = new Dictionary<string, string> { ["severity"] = "high" },
    };

    [Fact]
    public void The_bodies_are_frozen()
    {
        const string Unmapped = "\"unmapped\":{\"countersign\":{\"id\":\"aud_1\",\"service\":\"approval\",\"action\":\"ACTION\",\"at\":\"2025-11-24T16:00:00.123+00:00\",\"person\":\"per_bob\",\"name\":\"bob@example.com\",\"subject\":\"apr_1\",\"success\":true,\"details\":{\"severity\":\"high\"}}}}";
        const string Middle = "\"time\":1764000000123,\"severity_id\":4,\"status_id\":1,\"message\":\"ACTION\",\"metadata\":{\"version\":\"1.8.0\",\"uid\":\"aud_1\",\"event_code\":\"ACTION\",\"product\":{\"name\":\"Countersign\",\"vendor_name\":\"Countersign\",\"feature\":{\"name\":\"approval\"}}},\"actor\":{\"user\":{\"uid\":\"per_bob\",\"name\":\"bob@example.com\"}},";
        foreach (var (action, begin, own) in new[]
        {
            ("login", "{\"activity_id\":1,\"category_uid\":3,\"class_uid\":3002,\"type_uid\":300201,", "\"user\":{\"uid\":\"per_bob\",\"name\":\"bob@example.com\"},\"service\":{\"name\":\"approval\"},"),
            ("person.disabled", "{\"activity_id\":5,\"category_uid\":3,\"class_uid\":3001,\"type_uid\":300105,", "\"user\":{\"uid\":\"apr_1\"},"),
            ("bundle.activated", "{\"activity_id\":10,\"category_uid\":3,\"class_uid\":3004,\"type_uid\":300410,", "\"entity\":{\"uid\":\"apr_1\",\"type\":\"bundle\"},"),
            ("request.break-glass", "{\"activity_id\":3,\"category_uid\":6,\"class_uid\":6003,\"type_uid\":600303,", "\"api\":{\"operation\":\"request.break-glass\",\"service\":{\"name\":\"approval\"}},\"src_endpoint\":{\"svc_name\":\"approval\"},\"resources\":[{\"uid\":\"apr_1\"}],"),
        })
        {
            Assert.Equal((begin + Middle + own + Unmapped).Replace("ACTION", action, StringComparison.Ordinal), Encoding.UTF8.GetString(OcsfEvents.Write(Event(action))));
        }
    }

    [Theory]
    [InlineData("login")]
    [InlineData("login.refused")]
    [InlineData("session.revoked")]
    [InlineData("person.disabled")]
    [InlineData("person.enrolled")]
    [InlineData("person.enrolment-withdrawn")]
    [InlineData("person.linked")]
    [InlineData("bootstrap.used")]
    [InlineData("bootstrap.reopened")]
    [InlineData("credential.created")]
    [InlineData("credential.revoked")]
    [InlineData("bundle.activated")]
    [InlineData("bundle.change-rejected")]
    [InlineData("change.requested")]
    [InlineData("request.opened")]
    [InlineData("request.approved")]
    [InlineData("request.decision-refused")]
    [InlineData("entries.refused")]
    [InlineData("something.new")]
    public void Every_body_has_what_its_class_requires_and_comes_back_whole(string action)
    {
        foreach (var audit in new[] { Event(action), new AuditEvent { Id = "x", Service = "identity", Action = action, At = DateTimeOffset.UnixEpoch, Success = false } })
        {
            var body = OcsfEvents.Write(audit);
            using var json = JsonDocument.Parse(body);
            var root = json.RootElement;
            var type = root.GetProperty("class_uid").GetInt32();
            var activity = root.GetProperty("activity_id").GetInt32();
            var (required, activities) = Classes[type];
            foreach (var attribute in OfAll.Concat(required))
            {
                Assert.True(root.TryGetProperty(attribute, out var value), $"{action} has no {attribute}");
                Assert.True(value.ValueKind != JsonValueKind.Object || value.EnumerateObject().Any(), $"{action} has an empty {attribute}");
            }

            Assert.True(activity == 99 || (activity >= 1 && activity <= activities));
            Assert.Equal(type / 1000, root.GetProperty("category_uid").GetInt32());
            Assert.Equal((type * 100) + activity, root.GetProperty("type_uid").GetInt32());
            Assert.Equal(audit.Success ? 1 : 2, root.GetProperty("status_id").GetInt32());
            Assert.Equal(JsonSerializer.Serialize(audit), JsonSerializer.Serialize(OcsfEvents.Read(body)));
        }
    }

    [Fact]
    public void A_bare_event_is_read_and_a_foreign_body_is_not()
    {
        Assert.Equal("aud_1", OcsfEvents.Read(JsonSerializer.SerializeToUtf8Bytes(Event("login"), JsonSerializerOptions.Web)).Id);
        Assert.ThrowsAny<JsonException>(() => OcsfEvents.Read("{\"class_uid\":3002,\"unmapped\":{}}"u8));
        Assert.ThrowsAny<JsonException>(() => OcsfEvents.Read("[]"u8));
        Assert.ThrowsAny<JsonException>(() => OcsfEvents.Read("null"u8));
    }
}
