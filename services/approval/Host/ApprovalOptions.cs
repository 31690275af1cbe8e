using Countersign.Approval.Notify;
using Countersign.Approval.Workflow;
using Microsoft.Extensions.Options;

namespace Countersign.Approval.Host;

/// <summary>Section <c>Countersign:Approval</c>. Validated as a whole at start.</summary>
public sealed class ApprovalOptions
{
    /// <summary>Pending requests a person may have.</summary>
    public int MaxPending { get; set; } = 5;

    /// <summary>Seconds after a first denial in which the same may not be asked again; doubles with each further denial within a day.</summary>
    public int BackOffSeconds { get; set; } = 60;

    /// <summary>Longest such time in seconds.</summary>
    public int MaxBackOffSeconds { get; set; } = 3600;

    /// <summary>Hours in which what one person did alone (break-glass, a removal of access) must be reviewed.</summary>
    public int ReviewHours { get; set; } = 24;

    /// <summary>Days that requests are kept that are over; 0 for ever. The recorder keeps what happened.</summary>
    public int RetentionDays { get; set; } = 365;

    /// <summary>Loopback port of the Orleans silo; 0 for a free one.</summary>
    public int SiloPort { get; set; }

    /// <summary>Days after which the key that signs grants is replaced.</summary>
    public int KeyLifetimeDays { get; set; } = 90;

    /// <summary>Where people reach this service, e.g. <c>https://countersign.example</c>; empty for <c>Countersign:PublicUrl</c>, else <c>Countersign:BaseUrl</c>, else the address it listens on.</summary>
    public string PublicUrl { get; set; } = "";

    /// <summary>Server-sent events.</summary>
    public EventStreamOptions Events { get; set; } = new();

    /// <summary>Who outside is told of requests.</summary>
    public NotifyOptions Notify { get; set; } = new();
}

/// <summary>Section <c>Countersign:Approval:Events</c>: how changes are streamed.</summary>
public sealed class EventStreamOptions
{
    /// <summary>Seconds after which something is sent in any case.</summary>
    public int HeartbeatSeconds { get; set; } = 15;

    /// <summary>Seconds that a write may take before its reader is cut.</summary>
    public int PatienceSeconds { get; set; } = 10;

    /// <summary>Streams of one person.</summary>
    public int MaxStreamsOfOne { get; set; } = 5;

    /// <summary>Streams of all in this process.</summary>
    public int MaxStreams { get; set; } = 500;
}

internal sealed class ApprovalOptionsCheck : IValidateOptions<ApprovalOptions>
{
    public ValidateOptionsResult Validate(string? name, ApprovalOptions options)
    {
        var errors = new List<string>();
        Range(errors, "MaxPending", options.MaxPending, 1, 100);
        Range(errors, "BackOffSeconds", options.BackOffSeconds, 0, 86_400);
        Range(errors, "MaxBackOffSeconds", options.MaxBackOffSeconds, 0, 86_400);
        Range(errors, "ReviewHours", options.ReviewHours, 1, 24 * 30);
        Range(errors, "RetentionDays", options.RetentionDays, 0, 36_500);
        Range(errors, "SiloPort", options.SiloPort, 0, 65_535);
        Range(errors, "KeyLifetimeDays", options.KeyLifetimeDays, 1, 3_650);
        Range(errors, "Events:HeartbeatSeconds", options.Events.HeartbeatSeconds, 1, 60);
        Range(errors, "Events:PatienceSeconds", options.Events.PatienceSeconds, 1, 60);
        Range(errors, "Events:MaxStreamsOfOne", options.Events.MaxStreamsOfOne, 1, 100);
        Range(errors, "Events:MaxStreams", options.Events.MaxStreams, 1, 10_000);
        if (options.PublicUrl.Length > 0
            && !(Uri.TryCreate(options.PublicUrl, UriKind.Absolute, out var url) && url.Scheme is "http" or "https"))
        {
            errors.Add("Countersign:Approval:PublicUrl must be an absolute http or https URL.");
        }

        errors.AddRange(NotifyOptionsCheck.Errors(options.Notify, Transitions.Table.Select(row => row.Action).ToHashSet(StringComparer.Ordinal)));
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
    }

    private static void Range(List<string> errors, string name, int value, int lowest, int highest)
    {
        if (value < lowest || value > highest)
        {
            errors.Add($"Countersign:Approval:{name} must be {lowest} to {highest}, not {value}.");
        }
    }
}
