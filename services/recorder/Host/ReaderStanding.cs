using System.Collections.Concurrent;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Recorder.Host;

/// <summary>
/// Whether a reader is enrolled now. A token says how it was up to 15 minutes ago: who was disabled or withdrawn since must not read what others did. Answers are
/// kept for seconds; where identity can't be asked nobody is taken for enrolled.
/// </summary>
internal sealed class ReaderStanding([FromKeyedServices(AppIds.Recorder)] IServiceClients clients, ITrustedKeys keys, TimeProvider clock)
{
    /// <summary>How long an answer counts.</summary>
    public static readonly TimeSpan Kept = TimeSpan.FromSeconds(5);

    private const int MaxKept = 1000;
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true };
    private readonly ConcurrentDictionary<string, (bool Enrolled, DateTimeOffset At)> _kept = new(StringComparer.Ordinal);

    /// <summary>Whether the reader may read what others did.</summary>
    /// <exception cref="PortUnavailableException">Identity can't be asked.</exception>
    public async ValueTask<bool> IsEnrolledAsync(AccessTokenClaims reader, CancellationToken cancellation)
    {
        // A token that says no may be of before the enrolment: a new one comes within minutes, and until then they read their own.
        if (!reader.Enrolled)
        {
            return false;
        }

        var now = clock.GetUtcNow();
        if (_kept.TryGetValue(reader.Person, out var known) && now - known.At < Kept)
        {
            return known.Enrolled;
        }

        var enrolled = await AskAsync(reader.Person, cancellation);
        if (_kept.Count >= MaxKept)
        {
            _kept.Clear();
        }

        _kept[reader.Person] = (enrolled, now);
        return enrolled;
    }

    private async Task<bool> AskAsync(string person, CancellationToken cancellation)
    {
        try
        {
            var answer = await clients.Create(AppIds.Identity)
                .AskSignedAsync(keys, AppIds.Identity, AppIds.Recorder, $"v1/persons/{Uri.EscapeDataString(person)}/standing", clock, cancellation);
            return answer.Read<PersonStanding>(Json) is { Enrolled: true, Disabled: false } standing && standing.Person == person;
        }
        catch (Exception error) when (error is HttpRequestException or IOException or JsonException or TokenRejectedException)
        {
            throw new PortUnavailableException("identity can't be asked who may read this", error);
        }
    }
}
