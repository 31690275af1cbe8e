using Countersign.Policy.Contracts;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Tree;

internal ref partial struct TreeWalker
{
    private static bool IsQuery(NodeName type) =>
        type is NodeName.SelectStmt or NodeName.InsertStmt or NodeName.UpdateStmt or NodeName.DeleteStmt or NodeName.MergeStmt;

    /// <summary>Makes the block of a query and puts filling it on the stack, on top: nothing else sees it before.</summary>
    private SqlBlock StartQuery(NodeName type, int fields, SqlBlock? parent, CteScope? scope)
    {
        var block = new SqlBlock { Kind = KindOf(type, fields), Parent = parent, Scope = scope };
        statement.AddBlock(block);
        if (type != NodeName.SelectStmt)
        {
            statement.AddKind(CommandTags.Of(tree, type, fields)!);
            statement.Changes = statement.Changes || !statement.PlanOnly;
        }

        stack.Push(new Work { Step = Step.Query, Element = fields, Block = block, Type = type });
        return block;
    }

    private readonly SqlBlockKind KindOf(NodeName type, int fields) => type switch
    {
        NodeName.InsertStmt => SqlBlockKind.Insert,
        NodeName.UpdateStmt => SqlBlockKind.Update,
        NodeName.DeleteStmt => SqlBlockKind.Delete,
        NodeName.MergeStmt => SqlBlockKind.Merge,
        _ when IsSetOperation(fields) => SqlBlockKind.SetOperation,
        _ when tree.Child(fields, NodeName.valuesLists) != 0 => SqlBlockKind.Values,
        _ => SqlBlockKind.Select,
    };

    private readonly bool IsSetOperation(int fields) =>
        tree.Child(fields, NodeName.op) is var op and not 0 && !tree.Is(fields, NodeName.op, "SETOP_NONE"u8) && op != 0;

    private void FillQuery(Work work)
    {
        var (fields, block) = (work.Element, work.Block);
        With(fields, block);
        switch (work.Type)
        {
            case NodeName.InsertStmt:
                Insert(fields, block);
                break;
            case NodeName.UpdateStmt:
                Update(fields, block);
                break;
            case NodeName.DeleteStmt:
                Delete(fields, block);
                break;
            case NodeName.MergeStmt:
                Merge(fields, block);
                break;
            default:
                Select(fields, block);
                break;
        }
    }

    private void With(int fields, SqlBlock block)
    {
        var with = tree.Child(fields, NodeName.withClause);
        if (with == 0)
        {
            return;
        }

        var recursive = tree.Flag(with, NodeName.recursive);
        var ctes = new Dictionary<string, (int, Cte)>();
        var outer = block.Scope;
        var all = new CteScope(outer, ctes, int.MaxValue);
        var index = 0;
        for (var node = tree[tree.Child(with, NodeName.ctes)].First; node != 0; node = tree[node].Next, index++)
        {
            if (tree.TypeOf(node) != NodeName.CommonTableExpr)
            {
                throw new UnknownNodeException("WITH");
            }

            var expression = tree.Unwrap(node);
            var query = tree.Child(expression, NodeName.ctequery);
            var type = tree.TypeOf(query);
            if (!IsQuery(type))
            {
                throw new UnknownNodeException("CTE query");
            }

            var scope = recursive ? all : new CteScope(outer, ctes, index);
            var name = tree.Text(expression, NodeName.ctename) ?? "";
            var cte = new Cte(name, StartQuery(type, tree.Unwrap(query), block, scope), Strings(tree.Child(expression, NodeName.aliascolnames)));
            ctes.TryAdd(name, (index, cte));
            if (tree.Child(expression, NodeName.search_clause) != 0 || tree.Child(expression, NodeName.cycle_clause) != 0)
            {
                // SEARCH and CYCLE add columns of rows: their origin isn't modelled.
                statement.Opaque = true;
                Push(tree.Child(expression, NodeName.cycle_clause), block, new Sink(block.Filters));
            }
        }

        block.Scope = all;
    }

    private void Select(int fields, SqlBlock block)
    {
        var filters = new Sink(block.Filters);
        if (block.Kind == SqlBlockKind.SetOperation)
        {
            SetOperation(fields, block);
            return;
        }

        Into(tree.Child(fields, NodeName.intoClause));
        Locks(fields);
        Push(tree.Child(fields, NodeName.limitCount), block, filters);
        Push(tree.Child(fields, NodeName.limitOffset), block, filters);
        Push(tree.Child(fields, NodeName.sortClause), block, filters);
        Push(tree.Child(fields, NodeName.windowClause), block, filters);
        Push(tree.Child(fields, NodeName.havingClause), block, filters);
        Push(tree.Child(fields, NodeName.groupClause), block, filters);
        Push(tree.Child(fields, NodeName.whereClause), block, filters);
        Ordinals(tree.Child(fields, NodeName.sortClause), block);
        Ordinals(tree.Child(fields, NodeName.groupClause), block);
        Ordinals(tree.Child(fields, NodeName.distinctClause), block);
        if (tree.Child(fields, NodeName.distinctClause) is var distinct and not 0)
        {
            block.Distinct = true;
            Push(distinct, block, filters);
        }

        FromClause(tree.Child(fields, NodeName.fromClause), block, []);
        if (block.Kind == SqlBlockKind.Values)
        {
            Values(tree.Child(fields, NodeName.valuesLists), block);
        }
        else
        {
            Outputs(tree.Child(fields, NodeName.targetList), block);
        }
    }

    /// <summary>A chain of set operations becomes one block: it is as deep as it is long.</summary>
    private void SetOperation(int top, SqlBlock block)
    {
        var arms = new List<(int Fields, SqlBlock? Block)>();
        var pending = new Stack<int>();
        pending.Push(top);
        while (pending.TryPop(out var fields))
        {
            if (!IsSetOperation(fields) || (fields != top && tree.Child(fields, NodeName.withClause) != 0))
            {
                arms.Add((fields, null));
                continue;
            }

            block.Distinct |= !tree.Flag(fields, NodeName.all) || !tree.Is(fields, NodeName.op, "SETOP_UNION"u8);
            Locks(fields);
            var filters = new Sink(block.Filters);
            Push(tree.Child(fields, NodeName.sortClause), block, filters);
            Ordinals(tree.Child(fields, NodeName.sortClause), block);
            Push(tree.Child(fields, NodeName.limitCount), block, filters);
            Push(tree.Child(fields, NodeName.limitOffset), block, filters);
            pending.Push(tree.Child(fields, NodeName.rarg));
            pending.Push(tree.Child(fields, NodeName.larg));
        }

        // The last one that is started is filled first; arms are walked in order.
        var blocks = new SqlBlock[arms.Count];
        for (var i = arms.Count - 1; i >= 0; i--)
        {
            blocks[i] = StartQuery(NodeName.SelectStmt, arms[i].Fields, block.Parent, block.Scope);
        }

        block.Arms = blocks;
    }

    private void Values(int lists, SqlBlock block)
    {
        var columns = new List<SqlReads>();
        for (var row = tree[lists].First; row != 0; row = tree[row].Next)
        {
            var column = 0;
            for (var value = tree[tree.Child(tree.Unwrap(row), NodeName.items)].First; value != 0; value = tree[value].Next, column++)
            {
                if (column == columns.Count)
                {
                    columns.Add(new SqlReads());
                }

                if (!NodeTypes.Leaf.Contains(tree.TypeOf(value)))
                {
                    Push(value, block, new Sink(columns[column]));
                }
            }
        }

        block.Outputs = [.. columns.Select((reads, i) => new SqlOutput(SqlOutputKind.Expression, $"column{i + 1}", null, reads))];
    }

    private void Into(int into)
    {
        if (into == 0)
        {
            return;
        }

        statement.AddSpecial("SELECT INTO");
        statement.SetWrites();
        statement.Impure = statement.Impure || !statement.PlanOnly;
        statement.AddRelation(RelationName(tree.Child(into, NodeName.rel)), RelationAccess.Define | RelationAccess.Insert);
        if (statement.Shape == ResultShape.Rows)
        {
            statement.Shape = ResultShape.None;
        }
    }

    private void Locks(int fields)
    {
        for (var node = tree[tree.Child(fields, NodeName.lockingClause)].First; node != 0; node = tree[node].Next)
        {
            statement.Impure = statement.Impure || !statement.PlanOnly;
            statement.AddSpecial(tree.Text(tree.Unwrap(node), NodeName.strength) switch
            {
                "LCS_FORKEYSHARE" => "SELECT FOR KEY SHARE",
                "LCS_FORSHARE" => "SELECT FOR SHARE",
                "LCS_FORNOKEYUPDATE" => "SELECT FOR NO KEY UPDATE",
                _ => "SELECT FOR UPDATE",
            });
        }
    }

    private void FromClause(int list, SqlBlock block, List<SqlSource> sources)
    {
        block.Sources = sources;
        PushAll(list, new Work { Step = Step.From, Block = block, Sources = sources });
    }

    private void Outputs(int list, SqlBlock block)
    {
        if (list != 0)
        {
            var outputs = new List<SqlOutput>();
            block.Outputs = outputs;
            PushAll(list, new Work { Step = Step.Output, Block = block, Outputs = outputs });
        }
    }

    private void Output(Work work)
    {
        var target = tree.Unwrap(work.Element);
        var name = tree.Text(target, NodeName.name);
        var value = tree.Child(target, NodeName.val);
        var reads = new SqlReads();
        if (tree.TypeOf(value) == NodeName.ColumnRef)
        {
            var column = Column(tree.Unwrap(value));
            reads.Add(column);
            Owned(column, work.Block);
            var kind = column.IsStar ? SqlOutputKind.Star : SqlOutputKind.Column;
            work.Outputs!.Add(new SqlOutput(kind, name ?? (column.IsStar ? null : column.Name), column, reads));
            return;
        }

        work.Outputs!.Add(new SqlOutput(SqlOutputKind.Expression, name, null, reads));
        Push(value, work.Block, new Sink(reads));
    }

    private SqlSource Target(int range, RelationAccess access, SqlBlock block)
    {
        var name = RelationName(range);
        statement.AddRelation(name, access);
        statement.SetWrites();
        if (access.HasFlag(RelationAccess.Update) && name is { Name: "pg_settings", Schema: null or "pg_catalog" })
        {
            // A rule of the view makes it a SET of whatever row is updated.
            statement.AddKind("SET");
            statement.AddSetting(new SqlSetting("*", null, false, false));
        }

        var source = new SqlSource
        {
            Kind = SqlSourceKind.Relation,
            Name = name,
            Alias = tree.Text(tree.Child(range, NodeName.alias), NodeName.aliasname) ?? name.Name,
            ColumnAliases = Strings(tree.Child(tree.Child(range, NodeName.alias), NodeName.colnames)),
            IsTarget = true,
            Only = !tree.Flag(range, NodeName.inh),
        };
        block.Sources = new List<SqlSource> { source };
        return source;
    }

    private void Insert(int fields, SqlBlock block)
    {
        var conflict = tree.Child(fields, NodeName.onConflictClause);
        var returning = tree.Child(fields, NodeName.returningList);
        var updates = conflict != 0 && tree.Is(conflict, NodeName.action, "ONCONFLICT_UPDATE"u8);
        var access = RelationAccess.Insert | (updates ? RelationAccess.Update | RelationAccess.Read : 0) | (returning != 0 ? RelationAccess.Read : 0);
        var target = Target(tree.Child(fields, NodeName.relation), access, block);
        Outputs(returning, block);
        if (updates)
        {
            statement.AddKind("UPDATE");
            ((List<SqlSource>)block.Sources).Add(new SqlSource { Kind = SqlSourceKind.Relation, Name = target.Name, Alias = "excluded", IsTarget = true });
            Push(tree.Child(conflict, NodeName.whereClause), block, new Sink(block.Filters));
            Push(tree.Child(conflict, NodeName.targetList), block, new Sink(block.Stored));
        }

        if (conflict != 0)
        {
            Push(tree.Child(conflict, NodeName.infer), block, new Sink(block.Filters));
        }

        Push(tree.Child(fields, NodeName.cols), block, new Sink(block.Stored));
        var input = tree.Child(fields, NodeName.selectStmt);
        if (input != 0)
        {
            block.Input = StartQuery(NodeName.SelectStmt, tree.Unwrap(input), block.Parent, block.Scope);
        }
    }

    private void Update(int fields, SqlBlock block)
    {
        var where = tree.Child(fields, NodeName.whereClause);
        var targets = tree.Child(fields, NodeName.targetList);
        var from = tree.Child(fields, NodeName.fromClause);
        var returning = tree.Child(fields, NodeName.returningList);
        var reads = where != 0 || from != 0 || returning != 0 || NamesColumn(targets);
        Target(tree.Child(fields, NodeName.relation), RelationAccess.Update | (reads ? RelationAccess.Read : 0), block);
        block.Assigned = Assigned(targets);
        Where(where);
        Outputs(returning, block);
        Push(where, block, new Sink(block.Filters));
        Push(targets, block, new Sink(block.Stored));
        PushAll(from, new Work { Step = Step.From, Block = block, Sources = (List<SqlSource>)block.Sources });
    }

    private readonly List<string> Assigned(int targets)
    {
        var names = new List<string>();
        for (var node = tree[targets].First; node != 0; node = tree[node].Next)
        {
            names.Add(tree.Text(tree.Unwrap(node), NodeName.name) ?? throw new UnknownNodeException("SET"));
        }

        return names;
    }

    private void Delete(int fields, SqlBlock block)
    {
        var where = tree.Child(fields, NodeName.whereClause);
        var usingClause = tree.Child(fields, NodeName.usingClause);
        var returning = tree.Child(fields, NodeName.returningList);
        var reads = where != 0 || usingClause != 0 || returning != 0;
        Target(tree.Child(fields, NodeName.relation), RelationAccess.Delete | (reads ? RelationAccess.Read : 0), block);
        Where(where);
        Outputs(returning, block);
        Push(where, block, new Sink(block.Filters));
        PushAll(usingClause, new Work { Step = Step.From, Block = block, Sources = (List<SqlSource>)block.Sources });
    }

    private void Merge(int fields, SqlBlock block)
    {
        var access = RelationAccess.Read;
        var actions = tree.Child(fields, NodeName.mergeWhenClauses);
        for (var node = tree[actions].First; node != 0; node = tree[node].Next)
        {
            switch (tree.Text(tree.Unwrap(node), NodeName.commandType))
            {
                case "CMD_INSERT":
                    access |= RelationAccess.Insert;
                    statement.AddKind("INSERT");
                    break;
                case "CMD_UPDATE":
                    access |= RelationAccess.Update;
                    statement.AddKind("UPDATE");
                    break;
                case "CMD_DELETE":
                    access |= RelationAccess.Delete;
                    statement.AddKind("DELETE");
                    break;
                case "CMD_NOTHING":
                    break;
                default:
                    throw new UnknownNodeException("MERGE action");
            }
        }

        Target(tree.Child(fields, NodeName.relation), access, block);
        var condition = tree.Child(fields, NodeName.joinCondition);
        Where(condition);
        Outputs(tree.Child(fields, NodeName.returningList), block);
        for (var node = tree[actions].First; node != 0; node = tree[node].Next)
        {
            var action = tree.Unwrap(node);
            Push(tree.Child(action, NodeName.condition), block, new Sink(block.Filters));
            Push(tree.Child(action, NodeName.targetList), block, new Sink(block.Stored));
            Push(tree.Child(action, NodeName.values), block, new Sink(block.Stored));
        }

        Push(condition, block, new Sink(block.Filters));
        var source = tree.Child(fields, NodeName.sourceRelation);
        stack.Push(new Work { Step = Step.From, Element = source, Block = block, Sources = (List<SqlSource>)block.Sources });
    }

    private readonly void Where(int condition)
    {
        if (condition == 0 || !NamesColumn(condition))
        {
            statement.SetWhereAbsent();
        }
    }

    /// <summary>Whether an expression names a column, a sub-select or a cursor's row.</summary>
    private readonly bool NamesColumn(int element)
    {
        for (var i = element; i < tree[element].End; i++)
        {
            if (tree[i].Name is NodeName.ColumnRef or NodeName.SubLink or NodeName.CurrentOfExpr)
            {
                return true;
            }
        }

        return false;
    }

    private void From(Work work)
    {
        var node = work.Element;
        var fields = tree.Unwrap(node);
        var alias = tree.Child(fields, NodeName.alias);
        switch (tree.TypeOf(node))
        {
            case NodeName.RangeVar:
                work.Sources!.Add(Relation(fields, work.Block));
                break;
            case NodeName.RangeSubselect:
                var query = tree.Child(fields, NodeName.subquery);
                work.Sources!.Add(new SqlSource
                {
                    Kind = SqlSourceKind.Subquery,
                    Alias = tree.Text(alias, NodeName.aliasname),
                    ColumnAliases = Strings(tree.Child(alias, NodeName.colnames)),
                    Block = StartQuery(tree.TypeOf(query), tree.Unwrap(query), work.Block, work.Block.Scope),
                });
                break;
            case NodeName.RangeFunction:
                work.Sources!.Add(Function(fields, alias, FirstFunction(fields), work.Block));
                break;
            case NodeName.RangeTableFunc or NodeName.JsonTable:
                work.Sources!.Add(Function(fields, alias, default, work.Block));
                break;
            case NodeName.RangeTableSample:
                Push(tree.Child(fields, NodeName.repeatable), work.Block, new Sink(work.Block.Filters));
                Push(tree.Child(fields, NodeName.args), work.Block, new Sink(work.Block.Filters));
                var method = NameOf(tree.Child(fields, NodeName.method));
                statement.Impure |= method.Name is not ("bernoulli" or "system");
                work.Element = tree.Child(fields, NodeName.relation);
                stack.Push(work);
                break;
            case NodeName.JoinExpr:
                Join(fields, alias, work);
                break;
            default:
                throw new UnknownNodeException("FROM");
        }
    }

    private SqlSource Relation(int range, SqlBlock block)
    {
        var name = RelationName(range);
        var alias = tree.Child(range, NodeName.alias);
        var cte = name.Schema is null ? CteScope.Find(block.Scope, name.Name) : null;
        if (cte is null)
        {
            statement.AddRelation(name, RelationAccess.Read);
        }

        return new SqlSource
        {
            Kind = cte is null ? SqlSourceKind.Relation : SqlSourceKind.Cte,
            Name = name,
            Alias = tree.Text(alias, NodeName.aliasname) ?? name.Name,
            ColumnAliases = Strings(tree.Child(alias, NodeName.colnames)),
            Only = !tree.Flag(range, NodeName.inh),
            Block = cte?.Block,
            CteColumns = cte?.Columns ?? [],
        };
    }

    private readonly ObjectName FirstFunction(int fields)
    {
        var list = tree[tree.Child(fields, NodeName.functions)].First;
        var call = tree[tree.Child(tree.Unwrap(list), NodeName.items)].First;
        return tree.TypeOf(call) == NodeName.FuncCall ? NameOf(tree.Child(tree.Unwrap(call), NodeName.funcname)) : default;
    }

    private SqlSource Function(int fields, int alias, ObjectName name, SqlBlock block)
    {
        var reads = new SqlReads();
        PushAll(fields, new Work { Step = Step.Node, Block = block, Sink = new Sink(reads) });
        return new SqlSource
        {
            Kind = SqlSourceKind.Function,
            Name = name,
            Alias = tree.Text(alias, NodeName.aliasname) ?? name.Name,
            ColumnAliases = Strings(tree.Child(alias, NodeName.colnames)),
            Reads = reads,
        };
    }

    private void Join(int fields, int alias, Work work)
    {
        var block = work.Block;
        block.NaturalJoin |= tree.Flag(fields, NodeName.isNatural);
        foreach (var name in Strings(tree.Child(fields, NodeName.usingClause)))
        {
            block.Filters.Add(new SqlColumn([name], false));
            block.MergesColumns = true;
        }

        // USING (…) AS alias makes a source of just those columns: not modelled.
        statement.Opaque |= tree.Child(fields, NodeName.join_using_alias) != 0;
        var sources = work.Sources!;
        if (alias != 0)
        {
            var members = new List<SqlSource>();
            sources.Add(new SqlSource
            {
                Kind = SqlSourceKind.Join,
                Alias = tree.Text(alias, NodeName.aliasname),
                ColumnAliases = Strings(tree.Child(alias, NodeName.colnames)),
                Members = members,
            });
            sources = members;
        }

        Push(tree.Child(fields, NodeName.quals), block, new Sink(block.Filters));
        stack.Push(new Work { Step = Step.From, Element = tree.Child(fields, NodeName.rarg), Block = block, Sources = sources });
        stack.Push(new Work { Step = Step.From, Element = tree.Child(fields, NodeName.larg), Block = block, Sources = sources });
    }
}
