using Countersign.Policy.Contracts;

namespace Countersign.Policy.Connections;

/// <summary>The connections of a bundle and how a change applies to them.</summary>
public static class ConnectionRegistry
{
    /// <summary>
    /// Applies additions, replacements and removals. A replacement without a credential keeps the one that is there, but only where everything
    /// that the credential is bound to stays the same: otherwise it could not be opened, and asking for a new one says so at once. One that names a
    /// provider drops the sealed one; one that says nothing of a credential keeps the provider, whose secret names the address that it is for.
    /// </summary>
    /// <param name="current">Connections in force.</param>
    /// <param name="changed">New ones, and replacements by name.</param>
    /// <param name="removed">Names to remove.</param>
    /// <param name="problems">What can't be done.</param>
    /// <returns>All connections after the change, in name order.</returns>
    public static IReadOnlyList<Connection> Apply(
        IReadOnlyList<Connection> current, IReadOnlyList<Connection> changed, IReadOnlyList<string> removed, out IReadOnlyList<ConnectionProblem> problems)
    {
        ArgumentNullException.ThrowIfNull(current);
        ArgumentNullException.ThrowIfNull(changed);
        ArgumentNullException.ThrowIfNull(removed);
        var found = new List<ConnectionProblem>();
        var all = current.ToDictionary(connection => connection.Name, StringComparer.Ordinal);
        foreach (var name in removed)
        {
            if (!all.Remove(name))
            {
                found.Add(new ConnectionProblem(name, "unknown-name", $"There is no connection '{name}' to remove."));
            }
        }

        foreach (var name in changed.GroupBy(connection => connection.Name, StringComparer.Ordinal).Where(same => same.Count() > 1).Select(same => same.Key))
        {
            found.Add(new ConnectionProblem(name, "duplicate-name", $"The change has more than one connection '{name}'."));
        }

        foreach (var connection in changed)
        {
            var merged = connection;
            if (connection is { Credential: null, CredentialFrom: null } && all.TryGetValue(connection.Name, out var before)
                && (before.Credential is not null || before.CredentialFrom is not null))
            {
                if (before.Credential is null || IsBoundAlike(before, connection))
                {
                    merged = connection with { Credential = before.Credential, CredentialFrom = before.CredentialFrom };
                }
                else
                {
                    found.Add(new ConnectionProblem(
                        connection.Name, "credential-bound", "Address, port, protocol, TLS trust or proxy group change, and the credential is sealed for the old ones: seal it again and send it along."));
                }
            }

            all[connection.Name] = merged;
        }

        Connection[] result = [.. all.Values.OrderBy(connection => connection.Name, StringComparer.Ordinal)];
        problems = [.. found, .. ConnectionRules.Check(result)];
        return result;
    }

    private static bool IsBoundAlike(Connection one, Connection other) =>
        one.Host == other.Host && one.Port == other.Port && one.Protocol == other.Protocol && one.Tls == other.Tls
        && one.TrustedCertificates == other.TrustedCertificates && one.ProxyGroup == other.ProxyGroup;
}
