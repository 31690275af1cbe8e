using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Operations;

/// <summary>A portal, by Bind or DECLARE: one namespace for both.</summary>
/// <param name="Operation">The Bind; null for a cursor.</param>
/// <param name="Declared">What a cursor runs; null for a Bind.</param>
/// <param name="Hold">Whether it outlives its transaction.</param>
internal sealed record Portal(PostgresOperation? Operation, SqlAnalysis? Declared, bool Hold);

/// <summary>Prepared statements and portals that exist at the target, as far as its answers have told: the confirmed state.</summary>
internal sealed class SessionNames
{
    private readonly Dictionary<string, PreparedText> _statements = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SqlAnalysis> _prepared = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Portal> _portals = new(StringComparer.Ordinal);
    private PreparedText? _unnamed;
    private PostgresOperation? _unnamedPortal;

    public PreparedText? Statement(string name) => name.Length == 0 ? _unnamed : _statements.GetValueOrDefault(name);

    /// <summary>What a statement runs, whether it was made by Parse or by PREPARE.</summary>
    public SqlAnalysis? Definition(string name) => _prepared.GetValueOrDefault(name) ?? Statement(name)?.Understood.Analysis;

    /// <summary>Parameter types that a Parse gave a statement; empty where it gave none, and for PREPARE, whose text has them.</summary>
    public uint[] ParameterTypes(string name) => _prepared.ContainsKey(name) ? [] : Statement(name)?.Types ?? [];

    public Portal? Portal(string name) =>
        name.Length == 0 ? _unnamedPortal is null ? null : new Portal(_unnamedPortal, null, false) : _portals.GetValueOrDefault(name);

    public PostgresOperation? PortalOperation(string name) => name.Length == 0 ? _unnamedPortal : _portals.GetValueOrDefault(name)?.Operation;

    public void Parsed(string name, PreparedText statement)
    {
        if (name.Length == 0)
        {
            _unnamed = statement;
        }
        else
        {
            _statements[name] = statement;
            _prepared.Remove(name);
        }
    }

    /// <summary>A Parse of the unnamed statement failed: the old one is gone.</summary>
    public void ParseFailed(string name)
    {
        if (name.Length == 0)
        {
            _unnamed = null;
        }
    }

    /// <returns>The operation whose portal was replaced, if it was not complete.</returns>
    public PostgresOperation? Bound(string name, PostgresOperation operation)
    {
        if (name.Length == 0)
        {
            var old = _unnamedPortal;
            _unnamedPortal = operation;
            return old is { Completed: false } ? old : null;
        }

        _portals[name] = new Portal(operation, null, false);
        return null;
    }

    public void CloseStatement(string name)
    {
        if (name.Length == 0)
        {
            _unnamed = null;
        }
        else
        {
            _statements.Remove(name);
            _prepared.Remove(name);
        }
    }

    /// <returns>The operation whose portal was closed, if it was not complete.</returns>
    public PostgresOperation? ClosePortal(string name)
    {
        PostgresOperation? old;
        if (name.Length == 0)
        {
            old = _unnamedPortal;
            _unnamedPortal = null;
        }
        else
        {
            _portals.Remove(name, out var portal);
            old = portal?.Operation;
        }

        return old is { Completed: false } ? old : null;
    }

    /// <summary>The transaction has ended: portals and cursors without HOLD are gone.</summary>
    /// <param name="ended">Takes the operations that were not complete.</param>
    public void EndTransaction(List<PostgresOperation> ended)
    {
        if (_unnamedPortal is { } unnamed)
        {
            _unnamedPortal = null;
            if (!unnamed.Completed)
            {
                ended.Add(unnamed);
            }
        }

        if (_portals.Count == 0)
        {
            return;
        }

        foreach (var (name, portal) in _portals)
        {
            if (!portal.Hold)
            {
                _portals.Remove(name);
                if (portal.Operation is { Completed: false } operation)
                {
                    ended.Add(operation);
                }
            }
        }
    }

    /// <summary>A statement with an effect on names has succeeded.</summary>
    public void Apply(SqlSessionEffect effect)
    {
        switch (effect.Kind)
        {
            case SqlSessionEffectKind.Prepare when effect is { Name: { } name, Definition: { } definition }:
                _statements.Remove(name);
                _prepared[name] = definition;
                break;
            case SqlSessionEffectKind.Deallocate when effect.Name is { } name:
                CloseStatement(name);
                break;
            case SqlSessionEffectKind.Deallocate:
                // The unnamed statement is none of those that DEALLOCATE ALL and DISCARD ALL know.
                _statements.Clear();
                _prepared.Clear();
                break;
            case SqlSessionEffectKind.Declare when effect is { Name: { } name, Definition: { } definition }:
                _portals[name] = new Portal(null, definition, effect.Hold);
                break;
            case SqlSessionEffectKind.Close when effect.Name is { } name:
                _portals.Remove(name);
                break;
            case SqlSessionEffectKind.Close:
                _portals.Clear();
                break;
            case SqlSessionEffectKind.DiscardAll:
                _statements.Clear();
                _prepared.Clear();
                _portals.Clear();
                break;
            default:
                // Ends of transactions come with ReadyForQuery; a cursor that a savepoint took away only remains as a name that the target refuses.
                break;
        }
    }
}
