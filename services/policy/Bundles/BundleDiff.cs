using System.Globalization;
using System.Text;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Bundles;

/// <summary>
/// The whole change from one bundle to the next as text that an approver reads: every line that goes or comes, nothing left out but unchanged
/// lines away from changes. Sealed credentials are named by the hash of their ciphertext.
/// </summary>
public static class BundleDiff
{
    private const int Context = 3;

    /// <summary>Makes the text.</summary>
    /// <param name="before">Bundle in force; null for none.</param>
    /// <param name="after">Bundle proposed.</param>
    public static string Between(Bundle? before, Bundle after)
    {
        ArgumentNullException.ThrowIfNull(after);
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"Policy bundle: version {before?.Version ?? 0} -> {after.Version}\n");
        var oldDocuments = (before?.Documents ?? []).ToDictionary(document => document.Name, document => document.Yaml, StringComparer.Ordinal);
        var newDocuments = after.Documents.ToDictionary(document => document.Name, document => document.Yaml, StringComparer.Ordinal);
        Section(text, "document", oldDocuments, newDocuments);
        var oldConnections = (before?.Connections ?? []).ToDictionary(connection => connection.Name, Describe, StringComparer.Ordinal);
        var newConnections = after.Connections.ToDictionary(connection => connection.Name, Describe, StringComparer.Ordinal);
        Section(text, "connection", oldConnections, newConnections);
        return text.ToString();
    }

    private static void Section(StringBuilder text, string what, Dictionary<string, string> before, Dictionary<string, string> after)
    {
        foreach (var name in before.Keys.Union(after.Keys, StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            var old = before.GetValueOrDefault(name);
            var next = after.GetValueOrDefault(name);
            if (old == next)
            {
                continue;
            }

            text.Append(CultureInfo.InvariantCulture, $"\n{(old is null ? "New" : next is null ? "Removed" : "Changed")} {what} {name}\n");
            Lines(text, Split(old), Split(next));
        }
    }

    private static string Describe(Connection connection)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"protocol: {connection.Protocol}\naddress: {connection.Host}:{connection.Port}\ndatabase: {connection.Database}\ntls: {connection.Tls}\n");
        foreach (var line in (connection.TrustedCertificates ?? "").Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            text.Append(CultureInfo.InvariantCulture, $"trusted certificate: {line}\n");
        }

        foreach (var label in connection.Labels.OrderBy(label => label.Key, StringComparer.Ordinal))
        {
            text.Append(CultureInfo.InvariantCulture, $"label {label.Key}: {label.Value}\n");
        }

        text.Append(CultureInfo.InvariantCulture, $"proxy group: {connection.ProxyGroup}\n");
        if (connection.Credential is { } credential)
        {
            text.Append(
                CultureInfo.InvariantCulture,
                $"credential: sealed to key {credential.KeyId} ({credential.Suite}), SHA-256 of the ciphertext {BundleCodec.Digest(Encoding.UTF8.GetBytes(credential.Encapsulated + "." + credential.Ciphertext))}\n");
        }

        if (connection.CredentialFrom is { } provider)
        {
            text.Append(CultureInfo.InvariantCulture, $"credential: from {provider}, read by the proxies for each session, for this address only\n");
        }

        return connection is { Credential: null, CredentialFrom: null } ? text.Append("credential: none\n").ToString() : text.ToString();
    }

    // Only line feeds are taken as line ends: whatever else differs between two texts must show as a difference.
    private static string[] Split(string? text) => text is null ? [] : (text.EndsWith('\n') ? text[..^1] : text).Split('\n');

    private static void Lines(StringBuilder text, string[] before, string[] after)
    {
        var start = 0;
        while (start < before.Length && start < after.Length && before[start] == after[start])
        {
            start++;
        }

        var end = 0;
        while (end < before.Length - start && end < after.Length - start && before[^(end + 1)] == after[^(end + 1)])
        {
            end++;
        }

        var edits = new List<(char Sign, string Line)>();
        edits.AddRange(before[..start].Select(line => (' ', line)));
        edits.AddRange(Middle(before[start..(before.Length - end)], after[start..(after.Length - end)]));
        edits.AddRange(before[(before.Length - end)..].Select(line => (' ', line)));
        var skipped = 0;
        for (var i = 0; i < edits.Count; i++)
        {
            var near = edits.Skip(Math.Max(0, i - Context)).Take(Math.Min(i, Context) + Context + 1).Any(edit => edit.Sign != ' ');
            if (!near)
            {
                skipped++;
                continue;
            }

            Skipped(text, ref skipped);
            text.Append("  ").Append(edits[i].Sign).Append(' ').Append(edits[i].Line).Append('\n');
        }

        Skipped(text, ref skipped);
    }

    private static void Skipped(StringBuilder text, ref int skipped)
    {
        if (skipped > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"    ({skipped} unchanged line{(skipped == 1 ? "" : "s")})\n");
            skipped = 0;
        }
    }

    /// <summary>Longest common subsequence of lines; where that would cost too much everything goes and comes anew, which is as complete.</summary>
    private static List<(char Sign, string Line)> Middle(string[] before, string[] after)
    {
        var edits = new List<(char, string)>();
        if ((long)before.Length * after.Length > 4_000_000)
        {
            edits.AddRange(before.Select(line => ('-', line)));
            edits.AddRange(after.Select(line => ('+', line)));
            return edits;
        }

        var longest = new int[before.Length + 1, after.Length + 1];
        for (var i = before.Length - 1; i >= 0; i--)
        {
            for (var j = after.Length - 1; j >= 0; j--)
            {
                longest[i, j] = before[i] == after[j] ? longest[i + 1, j + 1] + 1 : Math.Max(longest[i + 1, j], longest[i, j + 1]);
            }
        }

        int one = 0, other = 0;
        while (one < before.Length || other < after.Length)
        {
            if (one < before.Length && other < after.Length && before[one] == after[other])
            {
                edits.Add((' ', before[one++]));
                other++;
            }
            else if (one < before.Length && (other == after.Length || longest[one + 1, other] >= longest[one, other + 1]))
            {
                edits.Add(('-', before[one++]));
            }
            else
            {
                edits.Add(('+', after[other++]));
            }
        }

        return edits;
    }
}
