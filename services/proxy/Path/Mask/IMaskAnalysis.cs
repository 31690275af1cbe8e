using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Path.Mask;

/// <summary>One understood operation's answer to "what must be masked", given by the protocol's parser and the target's catalog.</summary>
public interface IMaskAnalysis
{
    /// <summary>Plans the masking under the given obligations. Pure and cached by the adapter: called for every operation.</summary>
    MaskPlan Plan(Obligations obligations);
}

/// <summary>How results of one operation are treated on the way back. Adapters derive from it and read their own.</summary>
public class MaskPlan
{
    /// <summary>Nothing masked is read and no detector runs: results pass as they are.</summary>
    public static MaskPlan None { get; } = new();

    /// <summary>True where an adapter may pass results without looking at them.</summary>
    public virtual bool IsNone => true;

    /// <summary>Not null where the operation filters, sorts or joins on a masked column: says which.</summary>
    public virtual string? FiltersOn => null;

    /// <summary>Not null where the operation reads a masked column and writes anything, or hands it to a function with effects: says what.</summary>
    public virtual string? Launders => null;

    /// <summary>Not null where the operation reads what can never be shown masked (pg_stats, functions that take SQL text over a masked relation): says what.</summary>
    public virtual string? Unmaskable => null;
}
