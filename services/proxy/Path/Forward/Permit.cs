using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Path.Record;

namespace Countersign.Proxy.Path;

/// <summary>
/// The value without which nothing can be written to a target. Made only by <see cref="OperationPath"/>, from an allow decision or a redeemed
/// grant, and the receipt of the record. Good for one operation, once. A class, since <c>default</c> of a struct could be forged.
/// </summary>
public sealed class Permit
{
    private readonly Operation _operation;
    private int _used;

    internal Permit(Operation operation, Decision decision, RedeemedGrant? grant, RecordReceipt receipt, MaskPlan masking)
    {
        if (decision.Outcome == Outcome.Deny || (decision.Outcome == Outcome.RequireApproval && grant is null))
        {
            throw new InvalidOperationException("A permit needs an allow decision or a redeemed grant.");
        }

        ArgumentNullException.ThrowIfNull(receipt);
        _operation = operation;
        Decision = decision;
        Grant = grant;
        Receipt = receipt;
        Masking = masking;
    }

    /// <summary>The decision it comes from, with its obligations.</summary>
    public Decision Decision { get; }

    /// <summary>The grant it comes from, null where the decision was allow.</summary>
    public RedeemedGrant? Grant { get; }

    /// <summary>
    /// Proof of the record. Where it isn't durable yet (the write to disk overlaps the execution of a certain read), no byte of the result may
    /// reach the client before <see cref="RecordReceipt.WaitAsync"/> has completed (I5).
    /// </summary>
    public RecordReceipt Receipt { get; }

    /// <summary>How its results are treated.</summary>
    public MaskPlan Masking { get; }

    /// <summary>Uses it up. The one check in front of every write to a target.</summary>
    /// <exception cref="InvalidOperationException">It is another operation's, or was used before: a bug that must not become a leak.</exception>
    public void Use(Operation operation)
    {
        if (!ReferenceEquals(operation, _operation) || Interlocked.Exchange(ref _used, 1) != 0)
        {
            throw new InvalidOperationException("This permit is not for this operation, or was used before.");
        }
    }
}
