using Countersign.Policy.Contracts;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Tree;

/// <summary>
/// Walks one statement of a parse tree with a stack of its own: how deep the tree is, is the attacker's choice. This part holds the loop; the others
/// say what queries, expressions and utility statements mean.
/// </summary>
internal ref partial struct TreeWalker
{
    private readonly ParseTree tree;
    private readonly StatementBuilder statement;
    private readonly Stack<Work> stack;
    private readonly string grammar;

    private TreeWalker(ParseTree tree, StatementBuilder statement, Stack<Work> stack, string grammar)
    {
        this.tree = tree;
        this.statement = statement;
        this.stack = stack;
        this.grammar = grammar;
    }

    /// <summary>What a step does with its element.</summary>
    private enum Step : byte
    {
        /// <summary>An expression, a list or a structure of whatever type.</summary>
        Node,
        /// <summary>The fields of a query whose block exists.</summary>
        Query,
        /// <summary>An element of FROM.</summary>
        From,
        /// <summary>An element of a target list or RETURNING.</summary>
        Output,
        /// <summary>A whole statement inside another.</summary>
        Statement,
    }

    /// <summary>Where column references go.</summary>
    private readonly record struct Sink(SqlReads Reads, SqlReads? Call = null, SqlReads? Compared = null)
    {
        public void Add(SqlColumn column)
        {
            Reads.Add(column);
            Call?.Add(column);
            Compared?.Add(column);
        }

        public void Add(SqlBlock block)
        {
            Reads.Add(block);
            Call?.Add(block);
            Compared?.Add(block);
        }

        public void Add(ObjectName function) => Reads.Add(function);

        public void AddField(string name)
        {
            Reads.AddField(name);
            Call?.AddField(name);
            Compared?.AddField(name);
        }
    }

    private struct Work
    {
        public Step Step;
        /// <summary>True where the element's siblings are to be treated alike.</summary>
        public bool Siblings;
        public int Element;
        public SqlBlock Block;
        public Sink Sink;
        /// <summary>FROM: the list that sources go to; queries: none.</summary>
        public List<SqlSource>? Sources;
        public List<SqlOutput>? Outputs;
        public NodeName Type;
        /// <summary>How a relation that is named here is used.</summary>
        public RelationAccess Access;
    }

    /// <summary>Walks a statement.</summary>
    /// <param name="tree">The tree.</param>
    /// <param name="node">The wrapped statement node.</param>
    /// <param name="grammar">Of the facts of statements inside it.</param>
    public static StatementBuilder Walk(ParseTree tree, int node, string grammar)
    {
        var statement = new StatementBuilder();
        var walker = new TreeWalker(tree, statement, new Stack<Work>(), grammar);
        try
        {
            walker.TopLevel(node);
            walker.Run();
        }
        catch (UnknownNodeException)
        {
            statement.AddIncomplete(IncompleteCodes.UnknownNode);
            statement.Opaque = true;
        }

        return statement;
    }

    private void Run()
    {
        while (stack.TryPop(out var work))
        {
            if (work.Siblings && tree[work.Element].Next is var next and not 0)
            {
                var sibling = work;
                sibling.Element = next;
                stack.Push(sibling);
            }

            work.Siblings = false;
            switch (work.Step)
            {
                case Step.Query:
                    FillQuery(work);
                    break;
                case Step.From:
                    From(work);
                    break;
                case Step.Output:
                    Output(work);
                    break;
                case Step.Statement:
                    Statement(work.Element);
                    break;
                default:
                    Node(work);
                    break;
            }
        }
    }

    /// <summary>Puts an element on the stack; nothing for an absent one.</summary>
    private void Push(int element, SqlBlock block, Sink sink, RelationAccess access = RelationAccess.Define)
    {
        if (element != 0)
        {
            stack.Push(new Work { Step = Step.Node, Element = element, Block = block, Sink = sink, Access = access });
        }
    }

    /// <summary>Puts all elements of a list (or fields of a structure) on the stack, to be treated in order.</summary>
    private void PushAll(int parent, Work like)
    {
        var first = tree[parent].First;
        if (first != 0)
        {
            like.Element = first;
            like.Siblings = true;
            stack.Push(like);
        }
    }

    private readonly ObjectName NameOf(int list)
    {
        string? schema = null;
        var name = "";
        var count = 0;
        for (var part = tree[list].First; part != 0; part = tree[part].Next)
        {
            schema = count == 0 ? null : name;
            name = tree.Text(tree.Unwrap(part), NodeName.sval) ?? "";
            count++;
        }

        return new ObjectName(schema, name);
    }

    private readonly List<string> Strings(int list)
    {
        var names = new List<string>();
        for (var part = tree[list].First; part != 0; part = tree[part].Next)
        {
            if (tree.TypeOf(part) == NodeName.String)
            {
                names.Add(tree.Text(tree.Unwrap(part), NodeName.sval) ?? "");
            }
        }

        return names;
    }

    private readonly ObjectName RelationName(int range) =>
        new(tree.Text(range, NodeName.schemaname), tree.Text(range, NodeName.relname) ?? "");
}
