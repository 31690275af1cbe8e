using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Recorder.Export;
using Countersign.Recorder.Replay;
using Countersign.Recorder.Search;

namespace Countersign.Recorder.Host;

/// <summary>What people may read: everybody their own sessions, enrolled persons all.</summary>
internal static class EvidenceEndpoints
{
    private static readonly TimeSpan CatchUp = TimeSpan.FromSeconds(3);

    public static async Task<IResult> SessionsAsync(
        HttpContext context, LogHost host, ReaderStanding standing, string? person, string? connection, DateTimeOffset? from, DateTimeOffset? to, int? limit, string? after)
    {
        return Results.Json(host.Index.FindSessions(new SessionFilter
        {
            Person = await VisibleAsync(context, standing, person),
            Connection = connection,
            From = from,
            To = to,
            Limit = limit ?? 100,
            After = after,
        }));
    }

    public static async Task<IResult> OperationsAsync(
        HttpContext context, LogHost host, ReaderStanding standing, string? person, string? connection, string? text, string? decision, string? approver, DateTimeOffset? from,
        DateTimeOffset? to, int? limit, string? after)
    {
        try
        {
            return Results.Json(host.Index.FindOperations(new OperationFilter
            {
                Person = await VisibleAsync(context, standing, person),
                Connection = connection,
                Text = text,
                Decision = decision,
                Approver = approver,
                From = from,
                To = to,
                Limit = limit ?? 100,
                After = after,
            }));
        }
        catch (FormatException error)
        {
            return Problems.Result(StatusCodes.Status400BadRequest, "bad-request", error.Message);
        }
    }

    public static async Task EntriesAsync(HttpContext context, LogHost host, ReaderStanding standing, string id, CancellationToken cancellation)
    {
        await host.CatchUpAsync(CatchUp, cancellation);
        var owner = host.Index.PersonOf(id);
        var reader = Person(context);

        // The same answer for what isn't there and what isn't theirs.
        if (owner is null || (owner != reader.Person && !await standing.IsEnrolledAsync(reader, cancellation)))
        {
            await Problems.Result(StatusCodes.Status404NotFound, "not-found", "There is no such session that you may read.").ExecuteAsync(context);
            return;
        }

        context.Response.ContentType = "application/jsonl; charset=utf-8";
        var count = 0;
        foreach (var entry in SessionReplay.Read(host.Log, id, host.Index.RangesOf(id)))
        {
            entry.WriteLine(context.Response.BodyWriter);
            if (++count % 256 == 0)
            {
                await context.Response.BodyWriter.FlushAsync(cancellation);
            }
        }

        await context.Response.BodyWriter.FlushAsync(cancellation);
    }

    public static async Task ExportAsync(
        HttpContext context, LogHost host, ReaderStanding standing, DateTimeOffset? from, DateTimeOffset? to, long? since, CancellationToken cancellation)
    {
        var reader = Person(context);
        var all = await standing.IsEnrolledAsync(reader, cancellation);
        await host.CatchUpAsync(CatchUp, cancellation);
        long begin = 0;
        long? end = null;
        if (from is not null || to is not null)
        {
            var range = host.Index.RangeOf(from, to);
            (begin, end) = range is { } found ? (found.First, found.Last + 1) : (0, 0);
        }

        if (since < 0 || since > host.Log.Latest.Size)
        {
            await Problems.Result(StatusCodes.Status400BadRequest, "bad-request", "since must be the size of an earlier checkpoint.").ExecuteAsync(context);
            return;
        }

        var own = all ? null : host.Index.SessionsOf(reader.Person);
        var statement = await host.KeyStatementAsync(cancellation);
        context.Response.ContentType = "application/jsonl; charset=utf-8";
        context.Response.Headers.ContentDisposition = "attachment; filename=\"countersign-export.jsonl\"";
        await LogExporter.WriteAsync(
            host.Log, statement, new ExportRequest { From = begin, To = end, Since = since, Shows = own is null ? null : own.Contains }, context.Response.BodyWriter,
            cancellation);
    }

    private static AccessTokenClaims Person(HttpContext context) =>
        context.GetCaller().Person ?? throw new ProblemException(StatusCodes.Status403Forbidden, "forbidden", "This is for persons.");

    private static async ValueTask<string?> VisibleAsync(HttpContext context, ReaderStanding standing, string? asked)
    {
        var reader = Person(context);
        return asked == reader.Person ? asked
            : await standing.IsEnrolledAsync(reader, context.RequestAborted) ? asked
            : asked is null ? reader.Person
            : throw new ProblemException(StatusCodes.Status403Forbidden, "not-enrolled", "Only enrolled persons may read what others did.");
    }
}
