using System.Globalization;
using Countersign.Approval.Contracts;

namespace Countersign.Proxy.Postgres;

/// <summary>What a held client reads.</summary>
internal static class HoldTexts
{
    /// <summary>Who can approve, in words.</summary>
    public static string WhoCanApprove(RequestView request) => request.AllOf.Count == 0
        ? "an enrolled person"
        : string.Join(" and ", request.AllOf.Select(each =>
            $"{Number(each.Quorum)} of {string.Join(" or ", each.AnyOf)}"));

    /// <summary>How far it has come: how long it has waited, who has agreed, how many are still needed, and until when.</summary>
    /// <param name="request">As approval shows it.</param>
    /// <param name="now">The proxy's clock.</param>
    /// <param name="waited">How long this client has waited.</param>
    public static string Progress(RequestView request, DateTimeOffset now, TimeSpan waited)
    {
        var agreed = request.Decisions.Where(decision => decision.Approved).DistinctBy(decision => decision.Person, StringComparer.Ordinal).ToList();
        var by = agreed.Count == 0 ? "nobody has approved it yet" : $"approved by {string.Join(", ", agreed.Select(decision => decision.Name))}";

        // Whose agreement counts for which group is approval's to know; a person fills one seat at most.
        var seats = Math.Max(request.AllOf.Sum(each => (long)each.Quorum) - agreed.Count, 1);
        var least = request.AllOf.Count > 1 ? "at least " : "";
        return $"{request.Id} has waited {Minutes(waited)} for approval by {WhoCanApprove(request)}: {by}, {least}{Number(seats)} more needed; it expires in {Minutes(request.ExpiresAt - now)}, at {Time(request.ExpiresAt)}.";
    }

    /// <summary>How to go ahead alone, where the policy lets people.</summary>
    public static string BreakGlass(RequestView request) => request.BreakGlassAllowed
        ? $" In an emergency: countersign break-glass {request.Id} --reason TEXT runs it at once, tells everybody, and must be reviewed by somebody else."
        : "";

    /// <summary>A time as people read it.</summary>
    public static string Time(DateTimeOffset at) => at.UtcDateTime.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture);

    private static string Minutes(TimeSpan span) => span < TimeSpan.FromMinutes(1) && span > TimeSpan.Zero
        ? $"{Number((long)span.TotalSeconds)} s"
        : $"{Number(Math.Max(0, (long)span.TotalMinutes))} min";

    private static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);
}
