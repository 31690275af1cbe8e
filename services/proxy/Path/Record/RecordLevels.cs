using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Hold;

namespace Countersign.Proxy.Path.Record;

/// <summary>How durable the record of an operation must be.</summary>
internal static class RecordLevels
{
    /// <summary>What the obligations say, within what I5 permits: buffered only for allowed reads, and approved operations are acknowledged.</summary>
    public static RecordLevel For(Decision decision, RedeemedGrant? grant, OperationFacts facts)
    {
        if (grant is not null)
        {
            return RecordLevel.Acknowledged;
        }

        var asked = decision.Obligations.Record;
        return asked == RecordLevel.Buffered && !OnlyReads(facts) ? RecordLevel.Durable : asked;
    }

    /// <summary>Whether it is certain that the operation has no effect.</summary>
    public static bool OnlyReads(OperationFacts facts)
    {
        if (!facts.Complete)
        {
            return false;
        }

        var statements = facts.Statements;
        for (var index = 0; index < statements.Count; index++)
        {
            if (!statements[index].ReadOnly)
            {
                return false;
            }
        }

        return true;
    }
}
