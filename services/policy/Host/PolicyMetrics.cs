using System.Diagnostics.Metrics;

namespace Countersign.Policy.Host;

/// <summary>Figures of what is enforced (docs/operations/telemetry.md).</summary>
internal sealed class PolicyMetrics
{
    private readonly Counter<long> _changes;

    public PolicyMetrics(IMeterFactory meters, PolicyState state)
    {
        var meter = meters.Create("Countersign.Policy");
        _changes = meter.CreateCounter<long>("countersign.policy.changes", "{change}", "Changes of what is enforced that were asked for, came into force or did not");
        meter.CreateObservableGauge("countersign.policy.bundle.version", () => state.Version, null, "Version of the bundle in force; 0 before the first");
    }

    /// <summary>Counts a change.</summary>
    /// <param name="result"><c>requested</c>, <c>rejected</c> (not valid), or the state that it ended in.</param>
    public void Changed(string result) => _changes.Add(1, new KeyValuePair<string, object?>("countersign.result", result));
}
