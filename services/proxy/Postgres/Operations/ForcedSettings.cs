using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>
/// The two settings that decide how text is read: client_encoding and standard_conforming_strings. The gateway forces them at startup; if they
/// changed, it would decide on another text than the one that runs.
/// </summary>
internal static class ForcedSettings
{
    public const string ClientEncoding = "client_encoding";
    public const string StandardConformingStrings = "standard_conforming_strings";

    // As the analysis names a setting whose name is no constant.
    private const string AnySetting = "*";

    /// <summary>Whether a value means what the gateway forces. Harmless repetitions (pg_dump writes them) pass.</summary>
    public static bool IsKept(string name, string value) => name switch
    {
        ClientEncoding => value.Trim('\'', '"').ToUpperInvariant() is "UTF8" or "UTF-8" or "UNICODE",
        StandardConformingStrings => value.Trim('\'', '"').ToLowerInvariant() is "on" or "true" or "yes" or "1",
        _ => true,
    };

    /// <summary>
    /// Whether a text may be read in another way under another value of them. What is ASCII without a backslash reads the same in every encoding that a client
    /// can have, and with either form of strings.
    /// </summary>
    public static bool MatterFor(ReadOnlySpan<byte> text) => text.Contains((byte)'\\') || !System.Text.Ascii.IsValid(text);

    /// <summary>One of them was changed: from here on nobody knows what the target reads.</summary>
    public static MalformedMessageException Changed() =>
        new("client_encoding or standard_conforming_strings was changed to another value than Countersign works with; the session ends.", "0A000");

    /// <summary>Whether an operation with these statements would change one of them.</summary>
    public static bool IsChangedBy(SqlAnalysis analysis)
    {
        foreach (var statement in analysis.Statements)
        {
            foreach (var relation in statement.Facts.Relations)
            {
                if (relation is { Name: { Name: "pg_settings", Schema: null or "pg_catalog" } } && relation.Access != RelationAccess.Read)
                {
                    // A rule of the view makes set_config() of an update.
                    return true;
                }
            }

            foreach (var setting in statement.Settings)
            {
                if (setting.Name == AnySetting)
                {
                    // Its name is computed: within a pipeline the target reports the change only at the end.
                    return true;
                }

                if (setting.Reset || setting.Name is not (ClientEncoding or StandardConformingStrings))
                {
                    // RESET goes back to the startup packet's value, which is the forced one.
                    continue;
                }

                if (setting.Value is null || !IsKept(setting.Name, setting.Value))
                {
                    return true;
                }
            }
        }

        return false;
    }
}

/// <summary>
/// What this protocol can't let pass whatever the policy says: an operation that carries one of the codes of <see cref="UnderstoodText"/>. It denies
/// within step 3 so that the refusal is recorded like any other.
/// </summary>
internal sealed class ProtocolRules(IDecider inner, bool canMask) : IDecider
{
    public (Decision Decision, MaskPlan Masking) Decide(PathSession session, UnderstoodOperation understood, DateTimeOffset now)
    {
        var (decision, masking) = inner.Decide(session, understood, now);
        foreach (var code in understood.Facts.Incomplete)
        {
            switch (code)
            {
                case UnderstoodText.ForcedSetting:
                    return (Deny(decision, "forced-setting", "client_encoding and standard_conforming_strings can't be changed through Countersign.", "Leave them at UTF8 and on."), MaskPlan.None);
                case UnderstoodText.FunctionCall:
                    return (Deny(decision, "function-call", "The function call protocol can't be used through Countersign.", "Call the function in a SELECT."), MaskPlan.None);
                default:
                    break;
            }
        }

        if (!canMask && !masking.IsNone && decision.Outcome != Outcome.Deny)
        {
            return (Deny(decision, "no-masking", "The results of this would have to be masked, which this proxy can't do.", ""), MaskPlan.None);
        }

        return (decision, masking);
    }

    private static Decision Deny(Decision decision, string rule, string message, string hint) => decision with
    {
        Outcome = Outcome.Deny,
        Message = message,
        Hint = hint,
        Terms = null,
        Rules = [new RuleHit("protocol", rule, Outcome.Deny, -1, message), .. decision.Rules],
    };
}
