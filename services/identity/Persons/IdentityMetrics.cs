using System.Diagnostics.Metrics;

namespace Countersign.Identity.Persons;

/// <summary>Figures of identity (docs/operations/telemetry.md).</summary>
public sealed class IdentityMetrics
{
    private readonly Counter<long> _logins;
    private readonly Counter<long> _credentials;
    private readonly Counter<long> _events;

    /// <summary>Makes the instruments.</summary>
    /// <param name="meters">Of the container.</param>
    public IdentityMetrics(IMeterFactory meters)
    {
        ArgumentNullException.ThrowIfNull(meters);
        var meter = meters.Create("Countersign.Identity");
        _logins = meter.CreateCounter<long>("countersign.identity.logins", "{login}", "Logins of persons at the provider and of native clients");
        _credentials = meter.CreateCounter<long>("countersign.identity.credentials", "{credential}", "Access credentials that were issued and revoked");
        _events = meter.CreateCounter<long>("countersign.identity.events", "{event}", "Everything that was audited");
    }

    /// <summary>Counts a login.</summary>
    /// <param name="method"><c>provider</c> or <c>native</c>.</param>
    /// <param name="result"><c>ok</c> or <c>refused</c>.</param>
    public void LoggedIn(string method, string result) => _logins.Add(1, new("countersign.login.method", method), new("countersign.result", result));

    /// <summary>Counts an audit event, and what it stands for.</summary>
    /// <param name="action">Of the event.</param>
    /// <param name="success">False for a refused attempt.</param>
    public void Audited(string action, bool success)
    {
        _events.Add(1, new("countersign.action", action), new("countersign.success", success));
        switch (action)
        {
            case "login":
                LoggedIn("provider", success ? "ok" : "refused");
                break;
            case "login.refused":
                LoggedIn("native", "refused");
                break;
            case "credential.created":
                _credentials.Add(1, new KeyValuePair<string, object?>("countersign.action", "issued"));
                break;
            case "credential.revoked":
                _credentials.Add(1, new KeyValuePair<string, object?>("countersign.action", "revoked"));
                break;
        }
    }
}
