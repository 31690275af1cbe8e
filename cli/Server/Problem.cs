using System.Net;
using System.Text.Json;
using Countersign.Cli.Output;

namespace Countersign.Cli.Server;

/// <summary>Problem details (RFC 9457) with the member <c>code</c>, as every service answers errors.</summary>
internal sealed record Problem(string? Title, string? Detail, string? Code, string? Hint, IReadOnlyList<ProblemError>? Errors)
{
    /// <summary>What a refusal says, with the exit code that fits it.</summary>
    public static async Task<CliException> ReadAsync(HttpResponseMessage response, CancellationToken cancellation)
    {
        Problem? problem = null;
        try
        {
            var text = await response.Content.ReadAsStringAsync(cancellation);
            problem = Read(text);
        }
        catch (Exception error) when (error is HttpRequestException or IOException)
        {
            // The status alone has to do.
        }

        var status = $"{response.RequestMessage?.RequestUri?.AbsolutePath} answered {(int)response.StatusCode} {response.ReasonPhrase}";
        var message = problem?.Message(response.ReasonPhrase, status) ?? status;

        var exit = ExitCodeOf(response.StatusCode);
        return new CliException(exit, message, problem?.Hint ?? (exit == ExitCodes.NotLoggedIn ? "Run: countersign login" : null), problem?.Code);
    }

    private string Message(string? reasonPhrase, string status)
    {
        var errors = Errors ?? [];

        // A detail that only repeats the list, and a title that only names the status, say nothing more.
        var detail = Detail is not null && errors.Any(error => Detail.Contains(error.Message, StringComparison.Ordinal)) ? null : Detail;
        var title = Title == reasonPhrase && !string.IsNullOrEmpty(detail) ? null : Title?.TrimEnd('.');
        var first = string.Join(": ", new[] { title, detail }.Where(part => !string.IsNullOrEmpty(part)));
        return string.Join('\n', errors.Select(error => "  " + error).Prepend(first.Length > 0 ? first : status));
    }

    private static int ExitCodeOf(HttpStatusCode status) => status switch
    {
        HttpStatusCode.Unauthorized => ExitCodes.NotLoggedIn,
        HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests => ExitCodes.Unavailable,
        >= HttpStatusCode.InternalServerError => ExitCodes.Unavailable,
        // A redirect: something other than Countersign answers, such as a login page of a reverse proxy.
        < HttpStatusCode.BadRequest => ExitCodes.Unavailable,
        _ => ExitCodes.Refused,
    };

    // Members are read one by one: a problem with a member of another shape is still a problem with a title.
    private static Problem? Read(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            var root = document.RootElement;
            return root.ValueKind != JsonValueKind.Object
                ? null
                : new Problem(Text(root, "title"), Text(root, "detail"), Text(root, "code"), Text(root, "hint"), ReadErrors(root));
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static string? Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static List<ProblemError>? ReadErrors(JsonElement root)
    {
        if (!root.TryGetProperty("errors", out var errors))
        {
            return null;
        }

        return errors.ValueKind switch
        {
            JsonValueKind.Array => [.. errors.EnumerateArray().Select(Error)],
            // The form of validation problems: member name to messages.
            JsonValueKind.Object => [.. errors.EnumerateObject().Select(member => new ProblemError(member.Name, null, member.Value.ValueKind == JsonValueKind.Array
                ? string.Join("; ", member.Value.EnumerateArray().Select(value => value.ToString())) : member.Value.ToString()))],
            _ => null,
        };
    }

    private static ProblemError Error(JsonElement error)
    {
        if (error.ValueKind != JsonValueKind.Object)
        {
            return new ProblemError(null, null, error.ToString());
        }

        var line = error.TryGetProperty("line", out var number) && number.TryGetInt32(out var value) && value > 0 ? value : (int?)null;
        return new ProblemError(Text(error, "document"), line, Text(error, "message") ?? error.ToString());
    }
}

/// <summary>One of several errors, where the server could say where.</summary>
internal sealed record ProblemError(string? Document, int? Line, string Message)
{
    public override string ToString() => string.Join(":", new[] { Document, Line?.ToString(System.Globalization.CultureInfo.InvariantCulture) }
        .Where(part => !string.IsNullOrEmpty(part)).Select(part => TerminalText.Line(part!)).Append(" " + Message)).TrimStart();
}
