using Countersign.Policy.Contracts;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Tree;

internal ref partial struct TreeWalker
{
    private void Node(Work work)
    {
        ref var element = ref tree[work.Element];
        switch (element.Kind)
        {
            case TreeKind.Array:
                PushAll(work.Element, work);
                break;
            case TreeKind.Object:
                var type = tree.TypeOf(work.Element);
                if (type == NodeName.Unknown)
                {
                    Structure(work);
                }
                else
                {
                    Wrapped(type, tree.Unwrap(work.Element), work);
                }

                break;
        }
    }

    private void Wrapped(NodeName type, int fields, Work work)
    {
        switch (type)
        {
            case NodeName.ColumnRef:
                var column = Column(fields);
                work.Sink.Add(column);
                Owned(column, work.Block);
                break;
            case NodeName.FuncCall:
                Call(fields, work);
                break;
            case NodeName.A_Expr:
                Operator(tree.Child(fields, NodeName.name), tree.Text(fields, NodeName.kind));
                if (!PassesValues(NameOf(tree.Child(fields, NodeName.name)).Name))
                {
                    work.Sink = Compared(work);
                }

                Parts(fields, work);
                break;
            case NodeName.CaseExpr or NodeName.CaseWhen:
                Case(fields, work);
                break;
            case NodeName.SubLink:
                Operator(tree.Child(fields, NodeName.operName), null);
                var exists = tree.Is(fields, NodeName.subLinkType, "EXISTS_SUBLINK"u8);
                if (tree.Child(fields, NodeName.testexpr) is var tested and not 0)
                {
                    work.Sink = Compared(work);
                    Push(tested, work.Block, work.Sink);
                }

                SubSelect(tree.Child(fields, NodeName.subselect), work).ForExistence = exists;
                break;
            case NodeName.SortBy:
                Operator(tree.Child(fields, NodeName.useOp), null);
                Parts(fields, work);
                break;
            case NodeName.TypeCast:
                Cast(NameOf(tree.Child(tree.Child(fields, NodeName.typeName), NodeName.names)));
                Parts(fields, work);
                break;
            case NodeName.TypeName:
                TypeName(fields);
                Parts(fields, work);
                break;
            case NodeName.A_Indirection:
                Indirection(fields, work);
                break;
            case NodeName.RangeVar:
                Named(fields, work);
                break;
            case NodeName.VariableSetStmt:
                // ALTER FUNCTION … SET.
                Set(fields);
                break;
            case NodeName.TableLikeClause:
                statement.AddRelation(RelationName(tree.Child(fields, NodeName.relation)), RelationAccess.Read);
                break;
            case NodeName.SelectStmt or NodeName.InsertStmt or NodeName.UpdateStmt or NodeName.DeleteStmt or NodeName.MergeStmt:
                work.Sink.Add(StartQuery(type, fields, work.Block, work.Block.Scope));
                break;
            case NodeName.RangeFunction or NodeName.RangeTableFunc or NodeName.RangeTableSample or NodeName.JoinExpr or NodeName.JsonTable
                or NodeName.RangeSubselect or NodeName.LockingClause or NodeName.WithClause or NodeName.CommonTableExpr or NodeName.IntoClause
                or NodeName.RawStmt or NodeName.MergeWhenClause:
                // These only occur where queries are treated; elsewhere the tree is not what is expected.
                throw new UnknownNodeException(type.ToString());
            default:
                if (NodeTypes.Leaf.Contains(type))
                {
                    break;
                }

                if (!NodeTypes.Composite.Contains(type))
                {
                    throw new UnknownNodeException(type.ToString());
                }

                Parts(fields, work);
                break;
        }
    }

    /// <summary>A structure without type name: the field says what it is.</summary>
    private void Structure(Work work)
    {
        var fields = work.Element;
        if (tree.Child(fields, NodeName.relname) != 0)
        {
            Named(fields, work);
        }
        else if (tree.Child(fields, NodeName.names) != 0)
        {
            TypeName(fields);
            Parts(fields, work);
        }
        else if (tree.Child(fields, NodeName.funcname) is var name and not 0 && tree[name].Kind == TreeKind.Array && tree[fields].Name == NodeName.funccall)
        {
            Call(fields, work);
        }
        else if (tree[fields].Name is NodeName.larg or NodeName.rarg or NodeName.withClause or NodeName.intoClause or NodeName.into)
        {
            throw new UnknownNodeException(tree[fields].Name.ToString());
        }
        else
        {
            Parts(fields, work);
        }
    }

    private void Parts(int fields, Work work) => PushAll(fields, work);

    private void Named(int range, Work work) => statement.AddRelation(RelationName(range), work.Access);

    private SqlBlock SubSelect(int query, Work work)
    {
        var type = tree.TypeOf(query);
        if (!IsQuery(type))
        {
            throw new UnknownNodeException("sub-select");
        }

        var block = StartQuery(type, tree.Unwrap(query), work.Block, work.Block.Scope);
        work.Sink.Add(block);
        return block;
    }

    private readonly SqlColumn Column(int fields)
    {
        var list = tree.Child(fields, NodeName.fields);
        var star = false;
        for (var part = tree[list].First; part != 0; part = tree[part].Next)
        {
            star |= tree.TypeOf(part) == NodeName.A_Star;
        }

        return new SqlColumn(Strings(list), star);
    }

    private static void Owned(SqlColumn column, SqlBlock block)
    {
        if (column is { IsStar: false, Names.Count: > 1 })
        {
            block.AddOwned(column);
        }
    }

    private void Indirection(int fields, Work work)
    {
        for (var part = tree[tree.Child(fields, NodeName.indirection)].First; part != 0; part = tree[part].Next)
        {
            // (row).name may be a function called on the row, in whatever schema comes first.
            if (tree.TypeOf(part) == NodeName.String)
            {
                statement.Impure = true;
                var name = tree.Text(tree.Unwrap(part), NodeName.sval) ?? "";
                work.Block.AddField(name);
                work.Sink.AddField(name);
            }
        }

        Parts(fields, work);
    }

    private readonly void Operator(int list, string? kind)
    {
        if (list == 0 || kind is "AEXPR_BETWEEN" or "AEXPR_NOT_BETWEEN" or "AEXPR_BETWEEN_SYM" or "AEXPR_NOT_BETWEEN_SYM")
        {
            return;
        }

        var name = NameOf(list);
        if (PureNames.IsOperator(name))
        {
            statement.ReliesOnSearchPath |= name.Schema is null;
        }
        else if (name.Schema is not null)
        {
            // Somebody's own operator, by its full name: a call of the function behind it.
            statement.AddFunction(name);
        }
        else
        {
            statement.Impure = true;
        }
    }

    private readonly void TypeName(int fields)
    {
        var name = NameOf(tree.Child(fields, NodeName.names));
        if (PureNames.IsType(name))
        {
            statement.ReliesOnSearchPath |= name.Schema is null;
        }
        else
        {
            // A domain's checks and a type's conversions are code of whoever made them.
            statement.Impure = true;
        }
    }

    /// <summary>A cast to somebody's own type by its full name runs what they wrote: an input function, a domain's checks. Without schema the catalog would have to tell.</summary>
    private readonly void Cast(ObjectName type)
    {
        if (type.Schema is not (null or "pg_catalog" or "information_schema"))
        {
            statement.AddFunction(type);
        }
    }

    private void Call(int fields, Work work)
    {
        var name = NameOf(tree.Child(fields, NodeName.funcname));
        if (!statement.AddFunction(name))
        {
            work.Sink.Add(name);
            var reads = work.Sink.Call ?? new SqlReads();
            work.Block.Add(new SqlCall(name, reads));
            work.Sink = work.Sink with { Call = reads };
        }

        if (PureNames.TakesSql(name.Name))
        {
            statement.AddIncomplete(IncompleteCodes.DynamicSql);
            statement.Opaque = true;
        }
        else if (name.Name == "set_config")
        {
            SetConfig(fields);
        }

        Arguments(fields, name, work);
    }

    private readonly void SetConfig(int fields)
    {
        string? name = null, value = null;
        var local = false;
        var position = 0;
        for (var argument = tree[tree.Child(fields, NodeName.args)].First; argument != 0; argument = tree[argument].Next, position++)
        {
            var node = argument;
            var label = position switch { 0 => "setting_name", 1 => "new_value", _ => "is_local" };
            if (tree.TypeOf(node) == NodeName.NamedArgExpr)
            {
                label = tree.Text(tree.Unwrap(node), NodeName.name);
                node = tree.Child(tree.Unwrap(node), NodeName.arg);
            }

            switch (label)
            {
                case "setting_name":
                    name = Constant(node);
                    break;
                case "new_value":
                    value = Constant(node);
                    break;
                case "is_local":
                    local = Constant(node) is "true";
                    break;
            }
        }

        var variadic = tree.Flag(fields, NodeName.func_variadic);
        statement.AddSetting(new SqlSetting(name is null || variadic ? "*" : name.ToLowerInvariant(), value, local, false));
        statement.Impure = true;
    }

    /// <summary>The text of a constant, a cast one too; null for anything else.</summary>
    private readonly string? Constant(int node)
    {
        while (tree.TypeOf(node) == NodeName.TypeCast)
        {
            node = tree.Child(tree.Unwrap(node), NodeName.arg);
        }

        if (tree.TypeOf(node) != NodeName.A_Const)
        {
            return null;
        }

        var constant = tree.Unwrap(node);
        if (tree.Child(constant, NodeName.boolval) is var boolean and not 0)
        {
            return tree.Flag(boolean, NodeName.boolval) ? "true" : "false";
        }

        if (tree.Child(constant, NodeName.ival) is var number and not 0)
        {
            return tree.Text(number, NodeName.ival) ?? "0";
        }

        return tree.Text(tree.Child(constant, NodeName.sval), NodeName.sval) ?? tree.Text(tree.Child(constant, NodeName.fval), NodeName.fval)
            ?? (tree.Child(constant, NodeName.sval) != 0 ? "" : null);
    }
}
