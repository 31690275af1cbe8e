using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Sql.Analysis;

/// <summary>Puts definitions in the place of EXECUTE and FETCH: what they do is in another text, which the session has seen before.</summary>
public static class SessionStatements
{
    /// <summary>An analysis in which EXECUTE and FETCH (MOVE too) are what they run. Where a definition is missing the facts stay incomplete.</summary>
    /// <param name="analysis">The analysis of the text.</param>
    /// <param name="find">The session's table: kind (<see cref="SqlSessionEffectKind.Execute"/> or <see cref="SqlSessionEffectKind.Fetch"/>) and name to the kept definition, null where it has none.
    /// Protocol-level statements and portals share these names. Definitions in the text itself go first.</param>
    /// <returns>The analysis itself where it refers to nothing.</returns>
    public static SqlAnalysis Resolve(this SqlAnalysis analysis, Func<SqlSessionEffectKind, string, SqlAnalysis?> find)
    {
        ArgumentNullException.ThrowIfNull(analysis);
        ArgumentNullException.ThrowIfNull(find);
        if (!analysis.Statements.Any(statement => statement.Effect is { Kind: SqlSessionEffectKind.Execute or SqlSessionEffectKind.Fetch }))
        {
            return analysis;
        }

        var own = new Dictionary<(SqlSessionEffectKind, string), SqlAnalysis?>();
        var statements = new List<SqlStatement>(analysis.Statements.Count);
        var incomplete = analysis.Facts.Incomplete.Where(code => code is not (IncompleteCodes.Execute or IncompleteCodes.Fetch)).ToList();
        foreach (var statement in analysis.Statements)
        {
            var effect = statement.Effect;
            Remember(own, effect);
            if (effect is not { Kind: SqlSessionEffectKind.Execute or SqlSessionEffectKind.Fetch, Name: { } name })
            {
                statements.Add(statement);
                continue;
            }

            var definition = own.TryGetValue((effect.Kind, name), out var known) ? known : find(effect.Kind, name);
            if (definition is not { Statements: [var inner] })
            {
                Add(incomplete, effect.Kind == SqlSessionEffectKind.Execute ? IncompleteCodes.Execute : IncompleteCodes.Fetch);
                statements.Add(statement);
                continue;
            }

            foreach (var code in definition.Facts.Incomplete)
            {
                Add(incomplete, code);
            }

            statements.Add(Merge(statement, inner));
        }

        return new SqlAnalysis
        {
            Facts = analysis.Facts with { Incomplete = incomplete, Statements = [.. statements.Select(statement => statement.Facts)] },
            Statements = statements,
            TrimmedText = analysis.TrimmedText,
            RecordedText = analysis.RecordedText,
        };
    }

    private static void Remember(Dictionary<(SqlSessionEffectKind, string), SqlAnalysis?> own, SqlSessionEffect? effect)
    {
        switch (effect)
        {
            case { Kind: SqlSessionEffectKind.Prepare, Name: { } name }:
                own[(SqlSessionEffectKind.Execute, name)] = effect.Definition;
                break;
            case { Kind: SqlSessionEffectKind.Declare, Name: { } name }:
                own[(SqlSessionEffectKind.Fetch, name)] = effect.Definition;
                break;
        }
    }

    private static void Add(List<string> codes, string code)
    {
        if (!codes.Contains(code))
        {
            codes.Add(code);
        }
    }

    private static SqlStatement Merge(SqlStatement outer, SqlStatement inner)
    {
        var relations = new Dictionary<ObjectName, RelationAccess>();
        foreach (var use in outer.Facts.Relations.Concat(inner.Facts.Relations))
        {
            relations[use.Name] = relations.GetValueOrDefault(use.Name) | use.Access;
        }

        var alone = outer.Facts.Kinds is ["EXECUTE"] or ["FETCH"] or ["MOVE"];
        return new SqlStatement
        {
            Facts = outer.Facts with
            {
                Kinds = [.. outer.Facts.Kinds.Union(inner.Facts.Kinds)],
                Relations = [.. relations.Select(use => new RelationUse(use.Key, use.Value))],
                Functions = [.. outer.Facts.Functions.Union(inner.Facts.Functions)],
                ImpureFunctions = [.. outer.Facts.ImpureFunctions.Union(inner.Facts.ImpureFunctions)],
                WhereAbsent = outer.Facts.WhereAbsent || inner.Facts.WhereAbsent,
                ReadOnly = alone && outer.PureArguments && inner.Facts.ReadOnly,
                Settings = [.. outer.Facts.Settings.Union(inner.Facts.Settings)],
            },
            Shape = outer.Shape == ResultShape.Unknown ? inner.Shape : outer.Shape,
            Result = inner.Result,
            Blocks = [.. outer.Blocks, .. inner.Blocks],
            Writes = outer.Writes || inner.Writes,
            Opaque = inner.Opaque,
            Copy = outer.Copy,
            Settings = [.. outer.Settings, .. inner.Settings],
            Effect = outer.Effect,
            PureArguments = outer.PureArguments,
            ReliesOnSearchPath = outer.ReliesOnSearchPath || inner.ReliesOnSearchPath,
        };
    }
}
