using System.Text.Json;

namespace Countersign.Cli.Server;

/// <summary><c>GET /SERVICE/v1/dead-letters</c>: an event that a service could not handle.</summary>
/// <param name="Id">Id among those of its service.</param>
/// <param name="Topic">Topic.</param>
/// <param name="EventId">Stable id of the event.</param>
/// <param name="Type">CloudEvents type.</param>
/// <param name="Reason">Why it is there.</param>
/// <param name="At">Since when.</param>
/// <param name="Bytes">Size of its data.</param>
internal sealed record DeadLetter(string Id, string Topic, string EventId, string Type, string Reason, DateTimeOffset At, int Bytes)
{
    /// <summary>What it said; null in lists.</summary>
    public JsonElement? Data { get; init; }
}

/// <summary>A dead letter and whose it is.</summary>
internal sealed record ListedLetter(string Service, DeadLetter Letter);

/// <summary>What became of a replay.</summary>
/// <param name="Service">Service.</param>
/// <param name="Id">Id of the letter.</param>
/// <param name="Handled">Whether it was handled, and is gone.</param>
/// <param name="Reason">Why not.</param>
internal sealed record ReplayedLetter(string Service, string Id, bool Handled, string? Reason);
