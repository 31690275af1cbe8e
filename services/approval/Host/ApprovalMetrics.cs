using System.Diagnostics.Metrics;
using System.Text.Json;
using Countersign.Approval.Workflow;

namespace Countersign.Approval.Host;

/// <summary>Figures of approval requests (docs/operations/telemetry.md).</summary>
internal sealed class ApprovalMetrics
{
    private readonly Counter<long> _transitions;
    private readonly Counter<long> _decisions;
    private readonly Counter<long> _refused;
    private readonly Counter<long> _alone;
    private readonly Counter<long> _overdue;
    private readonly Histogram<double> _timeToDecision;

    public ApprovalMetrics(IMeterFactory meters)
    {
        var meter = meters.Create("Countersign.Approval");
        _transitions = meter.CreateCounter<long>("countersign.approval.requests", "{request}", "Requests that came into a state");
        _decisions = meter.CreateCounter<long>("countersign.approval.decisions", "{decision}", "Words of persons on requests");
        _refused = meter.CreateCounter<long>("countersign.approval.refused", "{attempt}", "Attempts that were refused");
        _alone = meter.CreateCounter<long>("countersign.approval.break_glass", "{request}", "Requests whose requester went ahead alone");
        _overdue = meter.CreateCounter<long>("countersign.approval.reviews.overdue", "{review}", "Reviews that were not made in time");
        _timeToDecision = meter.CreateHistogram<double>("countersign.approval.decision.time", "s", "From opening a request to its approval or denial");
    }

    /// <summary>Counts what happened to a request, once it has been told to others.</summary>
    public void Happened(RequestDocument document, RequestEffect effect)
    {
        var kind = new KeyValuePair<string, object?>("countersign.request.kind", Word(document.Spec.Kind));
        switch (effect.Action)
        {
            case "request.break-glass":
                _alone.Add(1, kind);
                break;
            case "request.review-overdue":
                _overdue.Add(1, kind);
                break;
            default:
                break;
        }

        if (effect.Action is not ("request.explained" or "request.agreed" or "request.redeemed" or "request.window-began" or "request.extended" or "request.reviewed"
            or "request.review-overdue"))
        {
            _transitions.Add(1, kind, new("countersign.request.state", Word(effect.State)));
        }

        if (effect.Action is "request.agreed" or "request.approved" or "request.denied" or Transitions.ExtensionApproved)
        {
            _decisions.Add(1, kind, new("countersign.decision", effect.Action == "request.denied" ? "deny" : "approve"));
        }

        if (effect.Action is "request.approved" or "request.denied" or Transitions.ExtensionApproved)
        {
            _timeToDecision.Record(Math.Max(0, (effect.At - document.CreatedAt).TotalSeconds), kind, new("countersign.request.state", Word(effect.State)));
        }
    }

    /// <summary>Counts a refused attempt.</summary>
    /// <param name="action">Of the audit event, e.g. <c>request.decision-refused</c>.</param>
    /// <param name="code">Stable code of the refusal.</param>
    public void Refused(string action, string code) => _refused.Add(1, new("countersign.action", action), new("countersign.code", code));

    private static string Word<T>(T value)
        where T : struct, Enum
        => JsonNamingPolicy.CamelCase.ConvertName(value.ToString());
}
