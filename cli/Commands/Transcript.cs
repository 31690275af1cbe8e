using System.Globalization;
using System.Text.Json;
using Countersign.Cli.Output;
using Countersign.Recorder.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>A session for people to read: every entry with its time, in the order of the recording.</summary>
internal sealed class Transcript(CliOutput output)
{
    private const string Indent = "            ";

    /// <param name="entry">One line of <c>GET /recorder/v1/sessions/{id}/entries</c>.</param>
    public void Add(JsonElement entry)
    {
        var type = Text(entry, "type");
        var at = Time(entry);
        if (Body(entry) is not { } body)
        {
            output.Line($"{at}  {type}: erased by retention");
            return;
        }

        switch (type)
        {
            case EntryTypes.SessionStart:
                Start(at, Read<SessionStartEntry>(body));
                break;
            case EntryTypes.Operation:
                Operation(at, Read<OperationEntry>(body));
                break;
            case EntryTypes.Completion:
                Completion(at, Read<CompletionEntry>(body));
                break;
            case EntryTypes.Hold:
                Hold(at, Read<HoldEntry>(body));
                break;
            case EntryTypes.SessionEnd:
                End(at, Read<SessionEndEntry>(body));
                break;
            case EntryTypes.SessionHeartbeat or EntryTypes.Seal:
                break;
            default:
                // What this version doesn't know is shown all the same: a transcript leaves nothing out in silence.
                output.Line($"{at}  {type}");
                output.Exact(body.GetRawText(), Indent);
                break;
        }
    }

    private void Start(string at, SessionStartEntry start)
    {
        output.Heading($"{at}  {start.Name} connected to {start.Connection}");
        output.Fields(
            (Indent + "person", $"{start.Person}, principal {start.Principal}, credential {start.Credential}"),
            (Indent + "target", $"{start.Protocol}, database {start.Database} as {start.DatabaseRole}"),
            (Indent + "client", start.Application.Length == 0 ? start.Client : $"{start.Client} ({start.Application})"),
            (Indent + "proxy", start.Proxy));
    }

    private void Operation(string at, OperationEntry operation)
    {
        output.Line($"{at}  #{operation.Operation} {operation.Kind}: {operation.Decision} ({(operation.Rules.Count == 0 ? "no rule" : string.Join(", ", operation.Rules))}, bundle {operation.BundleVersion})");
        output.Exact(operation.Text, Indent);
        for (var index = 0; index < operation.Parameters.Count; index++)
        {
            output.Line(string.Create(CultureInfo.InvariantCulture, $"{Indent}  ${index + 1} = {operation.Parameters[index] ?? "NULL"}"));
        }

        if (!string.IsNullOrEmpty(operation.Message))
        {
            output.Line($"{Indent}message: {operation.Message}");
        }

        if (operation.Request is not null)
        {
            output.Line($"{Indent}request {operation.Request}, digest {operation.Digest}");
        }

        foreach (var approver in operation.Approvers)
        {
            output.Line($"{Indent}approved by {approver.Name} ({approver.Person}) at {CliOutput.Time(approver.At)}");
        }
    }

    private void Completion(string at, CompletionEntry completion)
    {
        var parts = new List<string> { completion.Outcome };
        if (completion.ErrorCode is not null)
        {
            parts.Add($"error {completion.ErrorCode}");
        }

        parts.Add(string.Create(CultureInfo.InvariantCulture, $"{completion.Rows} rows, {completion.Bytes} bytes, {completion.DurationMicroseconds / 1000.0:0.0} ms"));
        if (completion.Masked > 0)
        {
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"{completion.Masked} fields masked"));
        }

        if (completion.CopySha256 is not null)
        {
            parts.Add($"data SHA-256 {completion.CopySha256}");
        }

        output.Line($"{at}  #{completion.Operation} ended: {string.Join(", ", parts)}");
    }

    private void Hold(string at, HoldEntry hold)
    {
        output.Line($"{at}  #{hold.Operation} hold {hold.Phase}: request {hold.Request}");
        if (hold.Phase is "began" or "attached")
        {
            output.Exact(hold.Text, Indent);
        }
    }

    private void End(string at, SessionEndEntry end) =>
        output.Line(string.Create(CultureInfo.InvariantCulture, $"{at}  session ended: {end.Reason} ({end.Operations} operations, {end.BytesIn} bytes in, {end.BytesOut} bytes out)"));

    private static T Read<T>(JsonElement body)
    {
        try
        {
            return body.Deserialize<T>(CliJson.Wire) ?? throw new JsonException("no body");
        }
        catch (JsonException error)
        {
            throw new CliException(ExitCodes.Unavailable, "The recording is not understood.", "Are countersign and the server of the same version?", "bad-answer", error);
        }
    }

    private static JsonElement? Body(JsonElement entry)
    {
        foreach (var name in (string[])["body", "payload"])
        {
            if (entry.TryGetProperty(name, out var body) && body.ValueKind == JsonValueKind.Object)
            {
                return body;
            }
        }

        return null;
    }

    // ISO 8601, or microseconds since the Unix epoch as in exports.
    private static string Time(JsonElement entry)
    {
        DateTimeOffset? time = null;
        if (entry.TryGetProperty("at", out var at) || entry.TryGetProperty("time", out at))
        {
            time = at.ValueKind switch
            {
                JsonValueKind.String when at.TryGetDateTimeOffset(out var iso) => iso,
                JsonValueKind.Number when at.TryGetInt64(out var microseconds) => DateTimeOffset.UnixEpoch.AddMicroseconds(microseconds),
                _ => null,
            };
        }

        return time?.ToUniversalTime().ToString("HH:mm:ss.fff", CultureInfo.InvariantCulture) ?? "??:??:??.???";
    }

    private static string? Text(JsonElement entry, string name) => entry.TryGetProperty(name, out var value) ? value.ToString() : null;
}
