using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>What the parse tree says of one output.</summary>
/// <param name="Strategy">How it is masked: <see cref="MaskStrategy.None"/> where it is proven to read nothing masked.</param>
/// <param name="Form">Form of its type where it is a plain column of a known relation.</param>
internal readonly record struct OutputMask(MaskStrategy Strategy, TypeForm Form);

/// <summary>The plan for one statement of an operation. Immutable.</summary>
internal sealed class StatementMask
{
    /// <summary>A statement that touches nothing masked.</summary>
    public static StatementMask Clean { get; } = new();

    /// <summary>A statement of which nothing is known: everything of no proven origin is masked.</summary>
    public static StatementMask Unknown { get; } = new() { Touches = true, Reads = true, Opaque = true };

    /// <summary>It names a relation with masked columns, or what stands for one, in any role.</summary>
    public bool Touches { get; init; }

    /// <summary>It may read a masked column.</summary>
    public bool Reads { get; init; }

    /// <summary>It runs code that no tree shows, which may read anything: its texts can't be trusted.</summary>
    public bool Opaque { get; init; }

    /// <summary>It stores masked values elsewhere (and was approved): whatever it returns may be one of them, wherever that now comes from.</summary>
    public bool Everything { get; init; }

    /// <summary>Outputs by position; null where they can't be listed.</summary>
    public IReadOnlyList<OutputMask>? Outputs { get; init; }

    /// <summary>What it sends back.</summary>
    public ResultShape Shape { get; init; }

    /// <summary>Format of its COPY.</summary>
    public CopyShape? Copy { get; init; }

    /// <summary>Deferred triggers may run in it.</summary>
    public bool Deferred { get; init; }

    /// <summary>How far its texts can be trusted.</summary>
    public TextRule Texts => Opaque ? TextRule.Opaque : Touches ? TextRule.Touches : Deferred ? TextRule.Deferred : TextRule.Idle;

    /// <summary>What an output without an origin (OID 0) gets: by position where the tree lists as many, else masked wherever anything masked may be read.</summary>
    public MaskStrategy Unnamed(int index, int count)
    {
        if (Shape == ResultShape.Plan)
        {
            return Opaque ? MaskStrategy.Redact : MaskStrategy.None;
        }

        if (Everything)
        {
            return MaskStrategy.Redact;
        }

        if (Outputs is { } outputs && outputs.Count == count)
        {
            // What has no origin went through an expression: whatever remains of the value goes whole.
            return outputs[index].Strategy is MaskStrategy.None ? MaskStrategy.None : MaskStrategy.Redact;
        }

        return Reads || Opaque ? MaskStrategy.Redact : MaskStrategy.None;
    }
}
