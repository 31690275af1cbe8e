using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Countersign.Approval.Notify;

/// <summary>Bodies of webhooks (docs/formats/webhook.md). Pure: the same notification has the same bytes whenever it is sent.</summary>
public static class WebhookBody
{
    // What Slack takes in one text is 3,000; the note needs some of it.
    private const int MaxSlackText = 2_900;

    private static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>The body of kind <c>json</c>: <c>type</c>, <c>timestamp</c> and <c>data</c> as Standard Webhooks has it.</summary>
    /// <param name="notification">What happened.</param>
    /// <param name="statements">Whether statements are in it.</param>
    public static byte[] Json(Notification notification, bool statements)
    {
        ArgumentNullException.ThrowIfNull(notification);
        return JsonSerializer.SerializeToUtf8Bytes(
            new Envelope(
                notification.Event, notification.At,
                new Data(
                    notification.Request, notification.Version, notification.Kind, notification.State, notification.Requester, notification.By,
                    notification.Connection, notification.Database, notification.Rules, notification.Reason, notification.Comment, notification.Needs,
                    statements ? notification.Statements : [], Left(notification, statements), notification.ExpiresAt, notification.Link)),
            Options);
    }

    /// <summary>The body of kind <c>slack</c>: Slack's blocks, with a text for those who read no blocks.</summary>
    /// <param name="notification">What happened.</param>
    /// <param name="statements">Whether statements are in it.</param>
    public static byte[] Slack(Notification notification, bool statements)
    {
        ArgumentNullException.ThrowIfNull(notification);
        var title = Notification.Title(notification.Event);
        var blocks = new JsonArray
        {
            new JsonObject { ["type"] = "header", ["text"] = Plain(title) },
            Section(string.Join('\n', Lines(notification))),
        };
        foreach (var statement in statements ? notification.Statements : [])
        {
            blocks.Add(Section(statement));
        }

        if (Left(notification, statements) is > 0 and var left)
        {
            blocks.Add(Section($"({left} {(statements ? "more " : "")}{(left == 1 ? "statement" : "statements")}: open the request to see {(left == 1 ? "it" : "them")})"));
        }

        blocks.Add(new JsonObject
        {
            ["type"] = "actions",
            ["elements"] = new JsonArray { new JsonObject { ["type"] = "button", ["text"] = Plain("Open the request"), ["url"] = notification.Link } },
        });
        var body = new JsonObject
        {
            // Parsed for links by whoever reads it, so no statement and no reason is in it.
            ["text"] = Escape($"{title}: {notification.Requester.Name}{(notification.Connection.Length > 0 ? $" on {notification.Connection}" : "")} {notification.Link}"),
            ["mrkdwn"] = false,
            ["blocks"] = blocks,
        };
        return Encoding.UTF8.GetBytes(body.ToJsonString(Options));
    }

    /// <summary>What Slack wants escaped: with these alone nothing in a text is a link, a mention or a channel.</summary>
    public static string Escape(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal).Replace(">", "&gt;", StringComparison.Ordinal);
    }

    /// <summary>What people read of a notification, a line each, without statements.</summary>
    internal static IEnumerable<string> Lines(Notification notification)
    {
        (string Name, string Value)[] rows =
        [
            ("Asked by", notification.Requester.Name),
            ("Kind", notification.Kind.Replace('_', ' ')),
            ("State", notification.State),
            ("By", notification.By?.Name ?? ""),
            ("Connection", notification.Connection),
            ("Database", notification.Database),
            ("Reason", Excerpts.Noted(notification.Reason)),
            ("Comment", Excerpts.Noted(notification.Comment)),
            ("Rules", string.Join(", ", notification.Rules)),
            ("Needs", string.Join(" and ", notification.Needs.Select(each => $"{each.Quorum} of {string.Join(" or ", each.AnyOf)}"))),
            ("Expires", notification.State is "pending" or "approved" ? notification.ExpiresAt.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture) : ""),
        ];
        // Indented, so that a reason of several lines can't look like further rows.
        return rows.Where(row => row.Value.Length > 0).Select(row => $"{row.Name}: {row.Value.Replace("\n", "\n    ", StringComparison.Ordinal)}");
    }

    internal static int Left(Notification notification, bool statements) => notification.MoreStatements + (statements ? 0 : notification.Statements.Count);

    private static JsonObject Section(string text) => Section(new Excerpt(text, 0));

    private static JsonObject Section(Excerpt excerpt) =>
        new() { ["type"] = "section", ["text"] = Plain(Excerpts.Noted(Excerpts.Fit(excerpt, MaxSlackText, rune => Escape(rune.ToString()).Length))) };

    // plain_text: no formatting, no mentions, and with emoji off no text turns into a picture.
    private static JsonObject Plain(string text) => new() { ["type"] = "plain_text", ["text"] = Escape(text), ["emoji"] = false };

    private sealed record Envelope(string Type, DateTimeOffset Timestamp, Data Data);

    private sealed record Data(
        string Request, long Version, string Kind, string State, NotifiedPerson Requester, NotifiedPerson? By, string Connection, string Database,
        IReadOnlyList<string> Rules, Excerpt Reason, Excerpt Comment, IReadOnlyList<NotifiedRequirement> Needs, IReadOnlyList<Excerpt> Statements,
        int MoreStatements, DateTimeOffset ExpiresAt, string Link);
}
