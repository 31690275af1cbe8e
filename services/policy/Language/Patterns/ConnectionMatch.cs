using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Language.Patterns;

/// <summary>Whether a connection is selected; one place for the checker and the engine.</summary>
public static class ConnectionMatch
{
    /// <summary>Names and labels must both hold; a null selector takes every connection.</summary>
    public static bool Matches(ConnectionSelector? selector, string name, IReadOnlyDictionary<string, string> labels)
    {
        ArgumentNullException.ThrowIfNull(labels);
        if (selector is null)
        {
            return true;
        }

        if (selector.Names is { } names && !names.Any(pattern => pattern.Value.IsMatch(name)))
        {
            return false;
        }

        return selector.Labels is null
            || selector.Labels.All(label => labels.TryGetValue(label.Name.Value, out var value) && label.Values.Any(pattern => pattern.Value.IsMatch(value)));
    }
}
