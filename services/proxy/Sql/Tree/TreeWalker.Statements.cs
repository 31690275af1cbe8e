using Countersign.Policy.Contracts;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Tree;

internal ref partial struct TreeWalker
{
    private const int HoldCursor = 0x20;

    private void TopLevel(int node)
    {
        var type = tree.TypeOf(node);
        if (IsQuery(type))
        {
            Query(type, tree.Unwrap(node), true);
        }
        else
        {
            Statement(node);
        }
    }

    /// <summary>A query as a statement; it is what the client gets where <paramref name="result"/> is set.</summary>
    private void Query(NodeName type, int fields, bool result)
    {
        if (type == NodeName.SelectStmt)
        {
            statement.AddKind("SELECT");
        }

        if (result)
        {
            statement.Shape = type == NodeName.SelectStmt || tree.Child(fields, NodeName.returningList) != 0 ? ResultShape.Rows : ResultShape.None;
        }

        var block = StartQuery(type, fields, null, null);
        if (result)
        {
            statement.Result = block;
        }
    }

    private void Statement(int node)
    {
        var type = tree.TypeOf(node);
        var fields = tree.Unwrap(node);
        if (IsQuery(type))
        {
            Query(type, fields, false);
            return;
        }

        var kind = CommandTags.Of(tree, type, fields) ?? throw new UnknownNodeException(type.ToString());
        statement.AddKind(kind);
        switch (type)
        {
            case NodeName.TransactionStmt:
                Transaction(fields, kind);
                break;
            case NodeName.VariableSetStmt:
                Set(fields);
                break;
            case NodeName.VariableShowStmt:
                statement.Shape = ResultShape.Setting;
                break;
            case NodeName.AlterSystemStmt or NodeName.AlterRoleSetStmt or NodeName.AlterDatabaseSetStmt:
                Set(tree.Child(fields, NodeName.setstmt));
                break;
            case NodeName.ExplainStmt:
                Explain(fields);
                break;
            case NodeName.CopyStmt:
                Copy(fields);
                break;
            case NodeName.DoStmt:
                statement.AddIncomplete(IncompleteCodes.DoBlock);
                statement.SetWrites();
                break;
            case NodeName.CallStmt:
                statement.AddIncomplete(IncompleteCodes.Call);
                statement.SetWrites();
                statement.Shape = ResultShape.Unknown;
                Utility(fields);
                break;
            case NodeName.PrepareStmt or NodeName.DeclareCursorStmt:
                Define(type, fields);
                break;
            case NodeName.ExecuteStmt:
                Refer(SqlSessionEffectKind.Execute, tree.Text(fields, NodeName.name), IncompleteCodes.Execute);
                Utility(fields);
                break;
            case NodeName.FetchStmt:
                Refer(SqlSessionEffectKind.Fetch, tree.Text(fields, NodeName.portalname), IncompleteCodes.Fetch);
                break;
            case NodeName.ClosePortalStmt:
                statement.Effect = new SqlSessionEffect(SqlSessionEffectKind.Close, tree.Text(fields, NodeName.portalname));
                break;
            case NodeName.DeallocateStmt:
                statement.Effect = new SqlSessionEffect(SqlSessionEffectKind.Deallocate, tree.Text(fields, NodeName.name));
                break;
            case NodeName.DiscardStmt:
                if (kind == "DISCARD ALL")
                {
                    statement.AddSetting(new SqlSetting("all", null, false, true));
                    statement.Effect = new SqlSessionEffect(SqlSessionEffectKind.DiscardAll, null);
                }

                break;
            case NodeName.CreateTableAsStmt:
                statement.SetWrites();
                statement.AddRelation(RelationName(tree.Child(tree.Child(fields, NodeName.into), NodeName.rel)), RelationAccess.Define | RelationAccess.Insert);
                Nested(tree.Child(fields, NodeName.query));
                break;
            case NodeName.ViewStmt:
                statement.SetWrites();
                statement.AddRelation(RelationName(tree.Child(fields, NodeName.view)), RelationAccess.Define);
                Nested(tree.Child(fields, NodeName.query));
                break;
            case NodeName.RuleStmt:
                statement.AddRelation(RelationName(tree.Child(fields, NodeName.relation)), RelationAccess.Define);
                Push(tree.Child(fields, NodeName.whereClause), statement.Expression, new Sink(statement.Expression.Filters));
                NestedAll(tree.Child(fields, NodeName.actions));
                break;
            case NodeName.CreateSchemaStmt:
                NestedAll(tree.Child(fields, NodeName.schemaElts));
                break;
            case NodeName.CreateFunctionStmt:
                Function(fields);
                break;
            case NodeName.TruncateStmt:
                statement.SetWhereAbsent();
                statement.SetWrites();
                Push(tree.Child(fields, NodeName.relations), statement.Expression, new Sink(statement.Expression.Filters), RelationAccess.Delete);
                break;
            case NodeName.DropStmt:
                Objects(tree.Child(fields, NodeName.objects), tree.Text(fields, NodeName.removeType));
                break;
            case NodeName.CommentStmt or NodeName.SecLabelStmt:
                statement.SetWrites();
                Object(tree.Child(fields, NodeName.@object), tree.Text(fields, NodeName.objtype));
                break;
            case NodeName.NotifyStmt:
                statement.SetWrites();
                break;
            default:
                statement.SetWrites();
                Utility(fields);
                break;
        }
    }

    /// <summary>Walks a utility statement's fields: relations named there are changed as objects, expressions run now or later.</summary>
    private void Utility(int fields)
    {
        var block = statement.Expression;
        PushAll(fields, new Work { Step = Step.Node, Block = block, Sink = new Sink(block.Stored), Access = RelationAccess.Define });
    }

    private void Nested(int node)
    {
        if (node != 0)
        {
            stack.Push(new Work { Step = Step.Statement, Element = node });
        }
    }

    /// <summary>Statements in a list, or in lists of lists (BEGIN ATOMIC).</summary>
    private void NestedAll(int list)
    {
        var pending = new Stack<int>();
        pending.Push(list);
        var found = new List<int>();
        while (pending.TryPop(out var current))
        {
            if (current == 0)
            {
                continue;
            }

            if (tree[current].Kind == TreeKind.Array)
            {
                for (var child = tree[current].First; child != 0; child = tree[child].Next)
                {
                    pending.Push(child);
                }
            }
            else if (tree.TypeOf(current) == NodeName.List)
            {
                pending.Push(tree.Child(tree.Unwrap(current), NodeName.items));
            }
            else if (tree.TypeOf(current) == NodeName.ReturnStmt)
            {
                Push(current, statement.Expression, new Sink(statement.Expression.Stored));
            }
            else if (tree.TypeOf(current) != NodeName.Unknown)
            {
                found.Add(current);
            }
        }

        // Found from the last to the first, so the first comes out on top.
        foreach (var node in found)
        {
            Nested(node);
        }
    }

    private readonly void Transaction(int fields, string kind)
    {
        if (kind is "COMMIT" or "PREPARE TRANSACTION" || (kind == "ROLLBACK" && !tree.Is(fields, NodeName.kind, "TRANS_STMT_ROLLBACK_TO"u8)))
        {
            statement.Effect = new SqlSessionEffect(SqlSessionEffectKind.EndTransaction, null);
        }
        else if (kind == "ROLLBACK")
        {
            statement.Effect = new SqlSessionEffect(SqlSessionEffectKind.RollbackToSavepoint, tree.Text(fields, NodeName.savepoint_name));
        }
    }

    private readonly void Set(int fields)
    {
        var kind = tree.Text(fields, NodeName.kind);
        var name = tree.Text(fields, NodeName.name)?.ToLowerInvariant();
        var local = tree.Flag(fields, NodeName.is_local);
        if (kind == "VAR_RESET_ALL")
        {
            statement.AddSetting(new SqlSetting("all", null, local, true));
            return;
        }

        var arguments = tree.Child(fields, NodeName.args);
        if (kind == "VAR_SET_MULTI" && name is "transaction" or "session characteristics")
        {
            // Each mode is a setting: transaction_read_only, default_transaction_isolation, …
            for (var node = tree[arguments].First; node != 0; node = tree[node].Next)
            {
                var option = tree.Unwrap(node);
                var mode = tree.Text(option, NodeName.defname) ?? "*";
                statement.AddSetting(new SqlSetting(
                    name == "transaction" ? mode : "default_" + mode, Constant(tree.Child(option, NodeName.arg)), name == "transaction", false));
            }

            return;
        }

        var values = new List<string>();
        var constant = arguments != 0;
        for (var node = tree[arguments].First; node != 0; node = tree[node].Next)
        {
            var value = Constant(node);
            constant &= value is not null;
            values.Add(value ?? "");
        }

        statement.AddSetting(new SqlSetting(
            name ?? "*", constant ? string.Join(", ", values) : null, local, kind is "VAR_RESET" or "VAR_SET_DEFAULT"));
    }

    private void Explain(int fields)
    {
        var analyze = false;
        for (var node = tree[tree.Child(fields, NodeName.options)].First; node != 0; node = tree[node].Next)
        {
            var option = tree.Unwrap(node);
            if (string.Equals(tree.Text(option, NodeName.defname), "analyze", StringComparison.OrdinalIgnoreCase))
            {
                // Whatever is not plainly off counts as on, also where a later one switches it off again.
                analyze |= Boolean(tree.Child(option, NodeName.arg)) is not false;
            }
        }

        if (analyze)
        {
            statement.AddKind("EXPLAIN ANALYZE");
        }
        else
        {
            statement.PlanOnly = true;
        }

        statement.Shape = ResultShape.Plan;
        var query = tree.Child(fields, NodeName.query);
        var type = tree.TypeOf(query);
        if (IsQuery(type))
        {
            if (type == NodeName.SelectStmt)
            {
                statement.AddKind("SELECT");
            }

            statement.Result = StartQuery(type, tree.Unwrap(query), null, null);
        }
        else
        {
            Nested(query);
        }
    }

    /// <summary>A boolean option as DefElem has it: none is true; null where it isn't one.</summary>
    private readonly bool? Boolean(int argument)
    {
        if (argument == 0)
        {
            return true;
        }

        var inner = tree.Unwrap(argument);
        return tree.TypeOf(argument) switch
        {
            NodeName.Integer => tree.Number(inner, NodeName.ival) != 0,
            NodeName.Boolean => tree.Flag(inner, NodeName.boolval),
            NodeName.String => tree.Text(inner, NodeName.sval)?.ToLowerInvariant() switch
            {
                "true" or "on" => true,
                "false" or "off" => false,
                _ => null,
            },
            _ => null,
        };
    }

    private void Copy(int fields)
    {
        var from = tree.Flag(fields, NodeName.is_from);
        var relation = tree.Child(fields, NodeName.relation);
        var file = tree.Child(fields, NodeName.filename) != 0;
        var program = tree.Flag(fields, NodeName.is_program);
        if (program || file)
        {
            statement.AddKind(program ? "COPY PROGRAM" : "COPY FILE");
            statement.Impure = true;
        }

        if (from || program || file)
        {
            statement.SetWrites();
        }

        var name = relation == 0 ? (ObjectName?)null : RelationName(relation);
        if (name is { } copied)
        {
            statement.AddRelation(copied, from ? RelationAccess.Insert : RelationAccess.Read);
        }

        statement.Shape = from || file || program ? ResultShape.None : ResultShape.CopyOut;
        var options = new List<KeyValuePair<string, string?>>();
        for (var node = tree[tree.Child(fields, NodeName.options)].First; node != 0; node = tree[node].Next)
        {
            var option = tree.Unwrap(node);
            options.Add(new(tree.Text(option, NodeName.defname)?.ToLowerInvariant() ?? "", Scalar(tree.Child(option, NodeName.arg))));
        }

        var format = options.Find(option => option.Key == "format").Value?.ToLowerInvariant() ?? "text";
        statement.Copy = new SqlCopy(from, name, Strings(tree.Child(fields, NodeName.attlist)), format, options, !file && !program);
        Push(tree.Child(fields, NodeName.whereClause), statement.Expression, new Sink(statement.Expression.Filters));
        var query = tree.Child(fields, NodeName.query);
        if (query != 0)
        {
            var type = tree.TypeOf(query);
            if (!IsQuery(type))
            {
                throw new UnknownNodeException("COPY");
            }

            if (type == NodeName.SelectStmt)
            {
                statement.AddKind("SELECT");
            }

            statement.Result = StartQuery(type, tree.Unwrap(query), null, null);
        }
    }

    private readonly string? Scalar(int argument)
    {
        var inner = tree.Unwrap(argument);
        return tree.TypeOf(argument) switch
        {
            NodeName.String => tree.Text(inner, NodeName.sval),
            NodeName.Integer => tree.Text(inner, NodeName.ival) ?? "0",
            NodeName.Float => tree.Text(inner, NodeName.fval),
            NodeName.Boolean => tree.Flag(inner, NodeName.boolval) ? "true" : "false",
            NodeName.List => string.Join(",", Strings(tree.Child(inner, NodeName.items))),
            NodeName.A_Star => "*",
            _ => null,
        };
    }

    /// <summary>PREPARE and DECLARE: the statement inside gets an analysis of its own, to be kept by the session.</summary>
    private readonly void Define(NodeName type, int fields)
    {
        var prepare = type == NodeName.PrepareStmt;
        var inner = Walk(tree, tree.Child(fields, NodeName.query), grammar);
        var built = inner.Build(0, 0);
        var analysis = new SqlAnalysis
        {
            Facts = new OperationFacts { Protocol = "postgres", Grammar = grammar, Incomplete = [.. inner.Incomplete], Statements = [built.Facts] },
            Statements = [built],
        };
        statement.Include(analysis);
        statement.Effect = prepare
            ? new SqlSessionEffect(SqlSessionEffectKind.Prepare, tree.Text(fields, NodeName.name), analysis)
            : new SqlSessionEffect(
                SqlSessionEffectKind.Declare, tree.Text(fields, NodeName.portalname), analysis, (tree.Number(fields, NodeName.options) & HoldCursor) != 0);
    }

    private readonly void Refer(SqlSessionEffectKind kind, string? name, string code)
    {
        statement.AddIncomplete(code);
        statement.Effect = new SqlSessionEffect(kind, name);
        if (statement.Shape == ResultShape.None && !statement.Stores)
        {
            statement.Shape = ResultShape.Unknown;
        }
    }

    private void Function(int fields)
    {
        statement.SetWrites();
        var options = tree.Child(fields, NodeName.options);
        for (var node = tree[options].First; node != 0; node = tree[node].Next)
        {
            var argument = tree.Child(tree.Unwrap(node), NodeName.arg);
            if (tree.TypeOf(argument) == NodeName.VariableSetStmt)
            {
                Set(tree.Unwrap(argument));
            }
        }

        Push(tree.Child(fields, NodeName.parameters), statement.Expression, new Sink(statement.Expression.Stored));
        NestedAll(tree.Child(fields, NodeName.sql_body));
    }

    /// <summary>Names of relations in DROP; for a trigger, rule or policy the last name is its own.</summary>
    private readonly void Objects(int list, string? type)
    {
        statement.SetWrites();
        for (var node = tree[list].First; node != 0; node = tree[node].Next)
        {
            Object(node, type);
        }
    }

    private readonly void Object(int node, string? type)
    {
        if (tree.TypeOf(node) != NodeName.List)
        {
            return;
        }

        var names = Strings(tree.Child(tree.Unwrap(node), NodeName.items));
        switch (type)
        {
            case "OBJECT_TABLE" or "OBJECT_VIEW" or "OBJECT_MATVIEW" or "OBJECT_SEQUENCE" or "OBJECT_INDEX" or "OBJECT_FOREIGN_TABLE":
                break;
            case "OBJECT_COLUMN" or "OBJECT_TRIGGER" or "OBJECT_RULE" or "OBJECT_POLICY" or "OBJECT_TABCONSTRAINT":
                names.RemoveAt(names.Count - 1);
                break;
            default:
                return;
        }

        if (names.Count > 0)
        {
            statement.AddRelation(new ObjectName(names.Count > 1 ? names[^2] : null, names[^1]), RelationAccess.Define);
        }
    }
}
