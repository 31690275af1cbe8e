using System.Runtime.CompilerServices;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Path.Decide;

/// <summary>
/// Decisions of one session by the facts that they were made of. Principal and connection don't change within a session, and facts are shared
/// instances by exact text, so the reference is the key. Emptied when another bundle comes into force.
/// </summary>
internal sealed class DecisionCache
{
    private const int MaxEntries = 256;

    private readonly Dictionary<OperationFacts, Decision> _decisions = new(ByReference.Instance);
    private BundleInForce? _bundle;

    public bool TryGet(BundleInForce bundle, OperationFacts facts, out Decision decision)
    {
        if (!ReferenceEquals(bundle, _bundle))
        {
            _decisions.Clear();
            _bundle = bundle;
        }

        return _decisions.TryGetValue(facts, out decision!);
    }

    public void Add(OperationFacts facts, Decision decision)
    {
        if (_decisions.Count >= MaxEntries)
        {
            _decisions.Clear();
        }

        _decisions[facts] = decision;
    }

    // A record compares by value: that would read all of it, and is what the parser's own cache has done already.
    private sealed class ByReference : IEqualityComparer<OperationFacts>
    {
        public static readonly ByReference Instance = new();

        public bool Equals(OperationFacts? x, OperationFacts? y) => ReferenceEquals(x, y);

        public int GetHashCode(OperationFacts obj) => RuntimeHelpers.GetHashCode(obj);
    }
}
