using Countersign.Policy.Contracts;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Tree;

/// <summary>Gathers what a walk finds out about one statement.</summary>
internal sealed class StatementBuilder
{
    private readonly List<string> kinds = [];
    private readonly List<ObjectName> functions = [];
    private readonly HashSet<ObjectName> seenFunctions = [];
    private readonly List<ObjectName> impureFunctions = [];
    private readonly List<ObjectName> relationOrder = [];
    private readonly Dictionary<ObjectName, RelationAccess> relations = [];
    private readonly List<string> incomplete = [];
    private readonly List<SqlSetting> settings = [];
    private readonly List<SqlBlock> blocks = [];
    private bool whereAbsent;
    private bool writes;
    private SqlBlock? expression;

    /// <summary>EXPLAIN without ANALYZE: nothing of what follows runs.</summary>
    public bool PlanOnly { get; set; }

    /// <summary>Something in it may have effects, or can't be told.</summary>
    public bool Impure { get; set; }

    /// <summary>Whether it is an INSERT, UPDATE, DELETE or MERGE, or has one in it: not to be taken for reading, but no word about its expressions.</summary>
    public bool Changes { get; set; }

    /// <summary>A name that is not qualified was taken for pg_catalog's.</summary>
    public bool ReliesOnSearchPath { get; set; }

    public bool Opaque { get; set; }

    public ResultShape Shape { get; set; }

    public SqlBlock? Result { get; set; }

    public SqlCopy? Copy { get; set; }

    public SqlSessionEffect? Effect { get; set; }

    /// <summary>What it yields is stored, not sent.</summary>
    public bool Stores => writes;

    public IReadOnlyList<string> Incomplete => incomplete;

    /// <summary>The block for expressions outside of queries.</summary>
    public SqlBlock Expression
    {
        get
        {
            if (expression is null)
            {
                expression = new SqlBlock { Kind = SqlBlockKind.Expression };
                blocks.Add(expression);
            }

            return expression;
        }
    }

    public void AddKind(string kind)
    {
        if ((!PlanOnly || kinds.Count == 0) && !kinds.Contains(kind))
        {
            kinds.Add(kind);
        }
    }

    /// <summary>Adds a kind that says more than the statement's own, which it then precedes.</summary>
    public void AddSpecial(string kind)
    {
        if (!PlanOnly && !kinds.Contains(kind))
        {
            kinds.Insert(kinds.Count > 0 && kinds[0] == "SELECT" ? 0 : kinds.Count, kind);
        }
    }

    public void AddBlock(SqlBlock block) => blocks.Add(block);

    public void AddRelation(ObjectName name, RelationAccess access)
    {
        if (PlanOnly)
        {
            access = RelationAccess.Read;
        }

        if (relations.TryGetValue(name, out var known))
        {
            relations[name] = known | access;
        }
        else
        {
            relations.Add(name, access);
            relationOrder.Add(name);
        }
    }

    public bool AddFunction(ObjectName name)
    {
        var pure = PureNames.IsFunction(name);
        if (pure && name.Schema is null)
        {
            ReliesOnSearchPath = true;
        }

        Impure |= !pure;
        if (seenFunctions.Add(name))
        {
            functions.Add(name);
            if (!pure)
            {
                impureFunctions.Add(name);
            }
        }

        return pure;
    }

    public void AddIncomplete(string code)
    {
        if (!incomplete.Contains(code))
        {
            incomplete.Add(code);
        }
    }

    public void AddSetting(SqlSetting setting) => settings.Add(setting);

    public void SetWhereAbsent() => whereAbsent |= !PlanOnly;

    public void SetWrites() => writes |= !PlanOnly;

    /// <summary>Takes over what another statement inside this one does.</summary>
    public void Include(SqlAnalysis inner)
    {
        foreach (var code in inner.Facts.Incomplete)
        {
            AddIncomplete(code);
        }

        foreach (var statement in inner.Statements)
        {
            foreach (var kind in statement.Facts.Kinds)
            {
                AddKind(kind);
            }

            foreach (var relation in statement.Facts.Relations)
            {
                AddRelation(relation.Name, relation.Access);
            }

            foreach (var function in statement.Facts.Functions)
            {
                AddFunction(function);
            }

            whereAbsent |= statement.Facts.WhereAbsent && !PlanOnly;
            writes |= statement.Writes && !PlanOnly;
            Opaque |= statement.Opaque;
            settings.AddRange(statement.Settings);
            blocks.AddRange(statement.Blocks);
            ReliesOnSearchPath |= statement.ReliesOnSearchPath;
            Impure |= !statement.Facts.ReadOnly;
        }
    }

    public SqlStatement Build(int start, int length)
    {
        foreach (var block in blocks)
        {
            block.Scope = null;
        }

        var facts = new StatementFacts
        {
            Kinds = kinds,
            Relations = relationOrder.Count == 0 ? [] : [.. relationOrder.Select(name => new RelationUse(name, relations[name]))],
            Functions = functions.Count == 0 ? [] : functions,
            ImpureFunctions = impureFunctions.Count == 0 ? [] : impureFunctions,
            WhereAbsent = whereAbsent,
            ReadOnly = OnlyReads(),
            Settings = settings.Count == 0 ? [] : [.. settings.Select(setting => setting.Name).Distinct()],
            ResetSettings = settings.Count == 0 ? [] : [.. settings.Where(setting => setting.Reset).Select(setting => setting.Name)
                .Except(settings.Where(setting => !setting.Reset).Select(setting => setting.Name))],
            Start = start,
            Length = length,
        };
        return new SqlStatement
        {
            Facts = facts,
            Shape = Shape,
            Result = Result,
            Blocks = blocks.Count == 0 ? [] : blocks,
            Writes = writes,
            Opaque = Opaque || incomplete.Count > 0,
            Copy = Copy,
            Settings = settings.Count == 0 ? [] : settings,
            Effect = Effect,
            ReliesOnSearchPath = ReliesOnSearchPath,
            PureArguments = !Impure,
        };
    }

    private bool OnlyReads()
    {
        if (Impure || Changes || writes || incomplete.Count > 0 || settings.Count > 0 || kinds.Count == 0)
        {
            return false;
        }

        foreach (var access in relations.Values)
        {
            if (access != RelationAccess.Read)
            {
                return false;
            }
        }

        foreach (var kind in kinds)
        {
            if (kind is not ("SELECT" or "EXPLAIN" or "EXPLAIN ANALYZE" or "SHOW" or "COPY TO"))
            {
                return false;
            }
        }

        return true;
    }
}
