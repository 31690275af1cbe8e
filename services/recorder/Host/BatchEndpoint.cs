using Countersign.Platform.Hosting;
using Countersign.Platform.Tokens;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;
using Countersign.Recorder.Log;
using Microsoft.Extensions.Options;

namespace Countersign.Recorder.Host;

/// <summary><c>POST /recorder/v1/batches</c>: frames of entries, by a proxy. Answers when they are durable.</summary>
internal static class BatchEndpoint
{
    private const int MaxEntries = 200_000;
    private const int LongestGather = 5000;

    public static async Task<IResult> TakeAsync(HttpContext context, LogHost host, RecorderMetrics metrics, IOptions<RecorderOptions> options, CancellationToken cancellation)
    {
        var body = await ReadAsync(context, cancellation);
        List<Entry> entries;
        try
        {
            entries = [.. EntryFrame.ReadAll(body).Take(MaxEntries + 1)];
        }
        catch (EntryFormatException error)
        {
            return Problems.Result(StatusCodes.Status400BadRequest, "malformed-batch", $"The batch can't be read: {error.Message}.");
        }

        if (entries.Count > MaxEntries)
        {
            return Problems.Result(StatusCodes.Status413PayloadTooLarge, "too-large", "The batch has too many entries.");
        }

        if (entries.Any(entry => SealKey.OwnerOf(entry.Session) != SealKey.Proxy))
        {
            return Problems.Result(StatusCodes.Status403Forbidden, "not-your-session", "Sessions of audit events are the recorder's own.");
        }

        try
        {
            var check = await host.Keys.CheckAsync(cancellation);
            var result = await host.Log.AppendAsync(entries, (session, seal) => check(session, seal), cancellation);

            // Before the answer: a proxy that gets none sends the seals again.
            await host.Keys.SaveAsync(cancellation);
            metrics.Taken(entries.Count, "proxy");
            return Results.Json(result with { GatherMilliseconds = (int)Math.Min(LongestGather, host.Keys.Enrolled * 1000L / options.Value.BatchesPerSecond) });
        }
        catch (Exception error) when (error is LogFailedException or TokenRejectedException)
        {
            return Problems.Result(StatusCodes.Status503ServiceUnavailable, "log-unavailable", error.Message);
        }
    }

    // Of the length that the proxy says, and no copy: a batch is up to a megabyte, ten times a second.
    private static async Task<ReadOnlyMemory<byte>> ReadAsync(HttpContext context, CancellationToken cancellation)
    {
        if (context.Request.ContentLength is not { } length)
        {
            using var stream = new MemoryStream();
            await context.Request.Body.CopyToAsync(stream, cancellation);
            return stream.GetBuffer().AsMemory(0, (int)stream.Length);
        }

        var body = GC.AllocateUninitializedArray<byte>((int)Math.Min(length, RecorderService.MaxBatch));
        await context.Request.Body.ReadExactlyAsync(body, cancellation);
        return body;
    }
}
