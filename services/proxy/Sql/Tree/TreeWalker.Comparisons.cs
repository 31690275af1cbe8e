using System.Globalization;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Sql.Tree;

/// <summary>What the mask planner needs beside the reads: which values are compared, and which outputs are meant by a number.</summary>
internal ref partial struct TreeWalker
{
    private static Sink Compared(Work work) => work.Sink with { Compared = work.Block.Compared };

    /// <summary>Operators that only put values together or take a part of them: they neither fail nor decide by what a value is.</summary>
    private static bool PassesValues(string name) => name is "||" or "->" or "->>" or "#>" or "#>>";

    private void Case(int fields, Work work)
    {
        for (var part = tree[fields].First; part != 0; part = tree[part].Next)
        {
            var decides = tree[part].Name is NodeName.arg or NodeName.expr;
            stack.Push(work with { Element = part, Sink = decides ? Compared(work) : work.Sink });
        }
    }

    /// <summary>Arguments of a call. What filters, sorts or partitions within it decides which rows count; arguments of generate_series, how many come.</summary>
    private void Arguments(int fields, Policy.Contracts.ObjectName name, Work work)
    {
        if (name.Name is "generate_series" or "generate_subscripts")
        {
            work.Sink = Compared(work);
        }

        var parts = new List<int>();
        for (var part = tree[fields].First; part != 0; part = tree[part].Next)
        {
            parts.Add(part);
        }

        // The last one pushed is treated first.
        for (var index = parts.Count - 1; index >= 0; index--)
        {
            var decides = tree[parts[index]].Name is NodeName.agg_filter or NodeName.agg_order or NodeName.over;
            stack.Push(work with { Element = parts[index], Sink = decides ? Compared(work) : work.Sink });
        }
    }

    private readonly void Ordinals(int list, SqlBlock block)
    {
        var pending = new Stack<int>();
        pending.Push(list);
        while (pending.TryPop(out var current))
        {
            for (var node = tree[current].First; node != 0; node = tree[node].Next)
            {
                var element = node;
                if (tree.TypeOf(element) == NodeName.SortBy)
                {
                    element = tree.Child(tree.Unwrap(element), NodeName.node);
                }

                switch (tree.TypeOf(element))
                {
                    case NodeName.GroupingSet:
                        pending.Push(tree.Child(tree.Unwrap(element), NodeName.content));
                        break;
                    case NodeName.A_Const when int.TryParse(Constant(element), NumberStyles.None, CultureInfo.InvariantCulture, out var ordinal):
                        block.AddOrdinal(ordinal);
                        break;
                }
            }
        }
    }
}
