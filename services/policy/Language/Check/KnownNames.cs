using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Patterns;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Language.Check;

/// <summary>What documents may refer to, and the errors of those that refer to something else.</summary>
internal sealed class KnownNames
{
    private readonly Dictionary<string, ApproverGroupDocument> _approvers = new(StringComparer.Ordinal);
    private readonly HashSet<string> _principalGroups;
    private readonly IReadOnlyList<Connection>? _connections;
    private readonly DiagnosticBag _errors;

    internal KnownNames(PolicySet set, CheckContext context, DiagnosticBag errors)
    {
        _connections = context.Connections;
        _errors = errors;
        foreach (var group in set.ApproverGroups)
        {
            _approvers.TryAdd(group.Name.Value, group);
        }

        _principalGroups = [.. set.Settings.SelectMany(settings => settings.PrincipalGroups).Select(group => group.Value)];
    }

    internal void PrincipalGroup(Located<string>? group)
    {
        if (group is { } name && _principalGroups.Count > 0 && !_principalGroups.Contains(name.Value))
        {
            _errors.Add(name.At, "unknown-name", $"'{name.Value}' is not one of the principal_groups of the settings: {string.Join(", ", _principalGroups.Order(StringComparer.Ordinal))}.");
        }
    }

    internal void Principals(PrincipalSelector? selector)
    {
        foreach (var group in selector?.Groups ?? [])
        {
            PrincipalGroup(group);
        }
    }

    internal void ApproverGroup(Located<string> name)
    {
        if (name.Value != PolicyChecker.Enrolled && !_approvers.ContainsKey(name.Value))
        {
            var known = _approvers.Keys.Append(PolicyChecker.Enrolled).Order(StringComparer.Ordinal);
            _errors.Add(name.At, "unknown-name", $"There is no approver group '{name.Value}'. There are: {string.Join(", ", known)}.");
        }
    }

    internal void Approval(ApprovalSyntax? approval)
    {
        foreach (var requirement in approval?.AllOf ?? [])
        {
            foreach (var group in requirement.AnyOf)
            {
                ApproverGroup(group);
            }

            if (requirement.AnyOf.Count == 0 || requirement.AnyOf.Any(group => !_approvers.ContainsKey(group.Value)))
            {
                // All enrolled persons, or an unknown group that is reported already: nothing to count.
                continue;
            }

            var members = requirement.AnyOf.SelectMany(group => _approvers[group.Value].Persons).Select(person => person.Value).Distinct(StringComparer.OrdinalIgnoreCase).Count();
            if (members < requirement.Quorum)
            {
                _errors.Add(
                    requirement.At, "quorum", $"A quorum of {requirement.Quorum} can't be reached: {string.Join(", ", requirement.AnyOf)} has {members} person(s).");
            }
        }
    }

    internal void ConnectionName(Located<string> name)
    {
        if (_connections is not null && _connections.All(connection => connection.Name != name.Value))
        {
            _errors.Add(name.At, "unknown-name", $"There is no connection '{name.Value}'.");
        }
    }

    internal void Connections(ConnectionSelector? selector, string? protocol, SourcePosition at)
    {
        if (_connections is null || selector is null)
        {
            return;
        }

        var before = _errors.Count;
        foreach (var name in selector.Names ?? [])
        {
            if (!_connections.Any(connection => name.Value.IsMatch(connection.Name)))
            {
                _errors.Add(name.At, "unknown-name", name.Value.IsLiteral ? $"There is no connection '{name.Value.Pattern}'." : $"No connection has a name like '{name.Value.Pattern}'.");
            }
        }

        foreach (var label in selector.Labels ?? [])
        {
            var values = _connections.Where(connection => connection.Labels.ContainsKey(label.Name.Value)).Select(connection => connection.Labels[label.Name.Value]).ToList();
            if (values.Count == 0)
            {
                _errors.Add(label.Name.At, "unknown-name", $"No connection has a label '{label.Name.Value}'.");
                continue;
            }

            foreach (var value in label.Values.Where(value => !values.Any(one => value.Value.IsMatch(one))))
            {
                _errors.Add(value.At, "unknown-name", $"No connection has the label '{label.Name.Value}' with the value '{value.Value.Pattern}'.");
            }
        }

        if (_errors.Count == before && !_connections.Any(connection => (protocol is null || protocol == connection.Protocol) && ConnectionMatch.Matches(selector, connection.Name, connection.Labels)))
        {
            _errors.Add(at, "never-matches", "No connection meets all conditions of 'connections' and 'protocol' together: this can never match.");
        }
    }
}
