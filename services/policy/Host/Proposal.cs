using Countersign.Policy.Bundles;
using Countersign.Policy.Connections;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language;

namespace Countersign.Policy.Host;

/// <summary>What would be in force if some documents and connections were changed, with everything that is wrong with it.</summary>
internal sealed record Proposal(IReadOnlyList<BundleDocument> Documents, IReadOnlyList<Connection> Connections, IReadOnlyList<PolicyError> Errors)
{
    /// <summary>Most documents of a bundle.</summary>
    public const int MaxDocuments = 1000;

    public static Proposal Make(
        Bundle? current, IReadOnlyList<BundleDocument> documents, IReadOnlyList<string> removedDocuments, IReadOnlyList<Connection> connections,
        IReadOnlyList<string> removedConnections)
    {
        var errors = new List<PolicyError>();
        var merged = (current?.Documents ?? []).ToDictionary(document => document.Name, StringComparer.Ordinal);
        foreach (var name in removedDocuments.Where(name => !merged.Remove(name)))
        {
            errors.Add(new PolicyError(name, 0, 0, "unknown-name", $"There is no document '{name}' to remove."));
        }

        foreach (var name in documents.GroupBy(document => document.Name, StringComparer.Ordinal).Where(same => same.Count() > 1).Select(same => same.Key))
        {
            errors.Add(new PolicyError(name, 0, 0, "duplicate-name", $"The change has more than one document '{name}'."));
        }

        foreach (var document in documents)
        {
            if (!IsName(document.Name))
            {
                errors.Add(new PolicyError(document.Name, 0, 0, "name", "The name of a document has 1 to 200 printable characters, no blanks at its ends, and no '..'."));
            }

            merged[document.Name] = document;
        }

        if (merged.Count > MaxDocuments)
        {
            errors.Add(new PolicyError("", 0, 0, "too-large", $"A bundle has at most {MaxDocuments} documents."));
        }

        var allConnections = ConnectionRegistry.Apply(current?.Connections ?? [], connections, removedConnections, out var problems);
        errors.AddRange(problems.Select(problem => new PolicyError($"connection {problem.Connection}", 0, 0, problem.Code, problem.Message)));
        BundleDocument[] allDocuments = [.. merged.Values.OrderBy(document => document.Name, StringComparer.Ordinal)];
        errors.AddRange(ErrorsOf(allDocuments, new CheckContext(allConnections)));
        return new Proposal(allDocuments, allConnections, errors);
    }

    public static IEnumerable<PolicyError> ErrorsOf(IReadOnlyList<BundleDocument> documents, CheckContext context) =>
        PolicyChecker.Check(documents, context, out _).Select(error => new PolicyError(error.At.File, error.At.Line, error.At.Column, error.Code, error.Message));

    public Bundle ToBundle(long version, DateTimeOffset createdAt) => new() { Version = version, CreatedAt = createdAt, Documents = Documents, Connections = Connections };

    /// <summary>Hash of what would be enforced, without version and time: the same change asked for twice has the same.</summary>
    public string ContentHash() => BundleCodec.Digest(BundleCodec.Encode(ToBundle(0, DateTimeOffset.UnixEpoch)));

    private static bool IsName(string name) =>
        name.Length is > 0 and <= 200 && name.Trim() == name && !name.Contains("..", StringComparison.Ordinal) && !name.Any(c => char.IsControl(c) || char.IsSurrogate(c));
}
