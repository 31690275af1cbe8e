using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>What is done to one column of a result.</summary>
/// <param name="Strategy">How it is masked; <see cref="MaskStrategy.None"/> where it isn't.</param>
/// <param name="Form">What its type can take.</param>
/// <param name="Binary">Whether it comes in binary format.</param>
/// <param name="Scan">Whether detectors look at it.</param>
/// <param name="Literals">Whether quoted literals in it are replaced (plans of EXPLAIN).</param>
internal readonly record struct ColumnMaskAction(MaskStrategy Strategy, TypeForm Form, bool Binary, bool Scan, bool Literals = false)
{
    /// <summary>Columns that a RowDescription announced.</summary>
    public static ColumnMaskAction[] For(
        PostgresResultColumns columns, StatementMask statement, MaskScope scope, ReadOnlySpan<short> formats, bool described = false)
    {
        var announced = columns.Columns;
        var actions = new ColumnMaskAction[announced.Length];
        for (var index = 0; index < actions.Length; index++)
        {
            var column = announced[index];
            var binary = (described ? column.Format : Format(formats, index)) != 0;
            var strategy = column.Relation != 0 && !statement.Everything
                ? scope.Strategy(column.Relation, column.Attribute)
                : statement.Unnamed(index, actions.Length);
            var form = scope.Form(column.Type);
            var literals = strategy == MaskStrategy.None && statement.Shape == ResultShape.Plan && statement.Touches;
            actions[index] = new ColumnMaskAction(strategy, form, binary, Scannable(column.Type, form, binary), literals);
        }

        return actions;
    }

    /// <summary>Columns of a portal that nobody described: by the parse tree, or null where it doesn't list them.</summary>
    public static ColumnMaskAction[]? FromTree(StatementMask statement, ReadOnlySpan<short> formats)
    {
        if (statement.Outputs is not { } outputs || statement.Everything)
        {
            return null;
        }

        var actions = new ColumnMaskAction[outputs.Count];
        for (var index = 0; index < actions.Length; index++)
        {
            // The tree doesn't show types of expressions; what isn't known takes only NULL.
            actions[index] = new ColumnMaskAction(outputs[index].Strategy, outputs[index].Form, Format(formats, index) != 0, Scan: true);
        }

        return actions;
    }

    /// <summary>Rows that nothing lists: everything becomes NULL, or passes where the statement is known to read nothing masked.</summary>
    public static ColumnMaskAction[] Unlisted(int count, StatementMask statement)
    {
        var actions = new ColumnMaskAction[count];
        for (var index = 0; index < count; index++)
        {
            actions[index] = new ColumnMaskAction(statement.Unnamed(-1, -1), TypeForm.Unknown, Binary: true, Scan: true);
        }

        return actions;
    }

    private static short Format(ReadOnlySpan<short> formats, int index) =>
        formats.Length == 0 ? (short)0 : formats.Length == 1 ? formats[0] : index < formats.Length ? formats[index] : (short)1;

    private static bool Scannable(uint type, TypeForm form, bool binary) => form switch
    {
        TypeForm.Bytes => false,
        TypeForm.Number => !binary,
        _ => PostgresTypes.MayHoldText(type),
    };
}
