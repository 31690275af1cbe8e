using System.Globalization;
using System.Text.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Policy.Analysis;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Host;

/// <summary>What is kept of a report, to say later what has changed since.</summary>
internal sealed record SegregationSnapshot(long Number, DateTimeOffset At, long BundleVersion, string Digest, IReadOnlyList<string> Lines);

/// <summary>
/// Segregation reports over the bundle in force and everybody that identity knows now. A report that says something else than the last one is kept, so that the
/// next can say what has changed.
/// </summary>
internal sealed class SegregationReports(
    PolicyState state, ServiceCalls services, [FromKeyedServices(AppIds.Policy)] IStateStore store, TimeProvider clock)
{
    /// <summary>How many are kept.</summary>
    public const int Kept = 50;

    private const string Collection = "sod-reports";
    private const int Attempts = 10;
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { RespectNullableAnnotations = true };

    /// <summary>The report of now.</summary>
    /// <param name="since">Number of the report to compare with; null for the last one that said something else.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <exception cref="ProblemException">404: there is no such report any more.</exception>
    public async Task<SegregationReport> MakeAsync(long? since, CancellationToken cancellation)
    {
        var current = state.Current;
        var persons = await services.PersonsAsync(cancellation);
        var report = SegregationAnalysis.Report(
            current?.Mark.Version ?? 0, current?.Engine.Documents ?? new PolicySet(), current?.Bundle.Connections ?? [], persons.Select(Someone), clock.GetUtcNow());
        var lines = SegregationAnalysis.Lines(report);
        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            var kept = await KeptAsync(cancellation);
            var last = kept.Count > 0 ? kept[^1] : null;
            var now = last is not null && last.Digest == report.Digest
                ? last
                : new SegregationSnapshot((last?.Number ?? 0) + 1, report.At, report.BundleVersion, report.Digest, lines);
            if (now != last && !await store.TrySaveAsync(Collection, Key(now.Number), JsonSerializer.SerializeToUtf8Bytes(now, Json), null, cancellation))
            {
                // Somebody else asked at the same time.
                continue;
            }

            await ForgetAsync(kept, cancellation);
            var earlier = since is null
                ? kept.LastOrDefault(each => each.Number < now.Number)
                : kept.FirstOrDefault(each => each.Number == since) ?? (since == now.Number ? now : throw new ProblemException(404, "unknown-report", $"There is no report {since}, or it is no longer kept."));
            return report with { Snapshot = now.Number, Changes = earlier is null ? null : Changes(earlier, lines) };
        }

        throw new PortUnavailableException("Reports change too often.");
    }

    private static SegregationChanges Changes(SegregationSnapshot earlier, IReadOnlyList<string> lines)
    {
        var (then, now) = (earlier.Lines.ToHashSet(StringComparer.Ordinal), lines.ToHashSet(StringComparer.Ordinal));
        return new SegregationChanges(
            earlier.Number, earlier.At, earlier.BundleVersion, [.. lines.Where(line => !then.Contains(line))], [.. earlier.Lines.Where(line => !now.Contains(line))]);
    }

    /// <summary>A person as the analyses take them.</summary>
    internal static Someone Someone(PersonView person) => new(
        person.Id, person.Name, person.Kind != "service", person.Enrolled, person.Disabled, person.Links, person.Owners, person.Team, person.Groups, person.Suspected);

    private async Task<List<SegregationSnapshot>> KeptAsync(CancellationToken cancellation)
    {
        var kept = new List<SegregationSnapshot>();
        await foreach (var item in store.ListAsync(Collection, cancellation))
        {
            kept.Add(JsonSerializer.Deserialize<SegregationSnapshot>(item.Value.Span, Json) ?? throw new InvalidDataException($"The report {item.Key} is empty."));
        }

        return [.. kept.OrderBy(each => each.Number)];
    }

    private async Task ForgetAsync(List<SegregationSnapshot> kept, CancellationToken cancellation)
    {
        foreach (var old in kept.SkipLast(Kept))
        {
            if (await store.GetAsync(Collection, Key(old.Number), cancellation) is { } item)
            {
                await store.TryDeleteAsync(Collection, Key(old.Number), item.ETag, cancellation);
            }
        }
    }

    private static string Key(long number) => number.ToString("D19", CultureInfo.InvariantCulture);
}
