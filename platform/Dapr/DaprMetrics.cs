using System.Diagnostics.Metrics;

namespace Countersign.Platform.Dapr;

/// <summary>Figures of the bus.</summary>
internal sealed class DaprMetrics
{
    private readonly Counter<long> _published;
    private readonly Counter<long> _handled;

    public DaprMetrics(IMeterFactory meters)
    {
        var meter = meters.Create("Countersign.Dapr");
        _published = meter.CreateCounter<long>("countersign.bus.published", "{event}", "Events given to the broker, by topic and result");
        _handled = meter.CreateCounter<long>("countersign.bus.handled", "{event}", "Events taken from the broker, by topic and result");
    }

    public void Published(string topic, string result) => _published.Add(1, new("countersign.topic", topic), new("countersign.result", result));

    public void Handled(string topic, string result) => _handled.Add(1, new("countersign.topic", topic), new("countersign.result", result));
}
