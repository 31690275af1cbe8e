using System.Globalization;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Recorder.Format;

namespace Countersign.Recorder.Host;

/// <summary>
/// The log in tiles, as https://c2sp.org/tlog-tiles names them: <c>checkpoint</c>, <c>tile/&lt;level&gt;/&lt;number&gt;[.p/&lt;width&gt;]</c> and <c>tile/entries/…</c>. Made
/// from the log itself, whatever it is stored in, up to the latest signed checkpoint. Checkpoint and hash tiles are for everybody, like the key: whoever watches
/// the log needs no account here, and hashes of salted leaves tell nothing. What the leaves say (which session, when) is for enrolled persons.
/// </summary>
internal static class TileEndpoints
{
    private const int MaxBundleBytes = 64 << 20;

    public static void Map(RouteGroupBuilder group)
    {
        group.MapGet("/log/checkpoint", (LogHost host) => Results.Text(host.Log.CheckpointNote, "text/plain; charset=utf-8"));
        group.MapGet("/log/tile/{level:int:min(0):max(7)}/{**tile}", HashTile);
        group.MapGet("/log/tile/entries/{**tile}", Bundle).RequireCaller(AppIds.Recorder, Callers.Persons);
    }

    private static IResult HashTile(HttpContext http, LogHost host, int level, string tile)
    {
        if (!TryRead(tile, host.Log.Latest.Size >> (Tiles.Height * level), out var number, out var width) || !IsPath(http, Tiles.HashPath(level, number, width)))
        {
            return NotThere();
        }

        var bytes = new byte[width * Hash256.Size];
        for (var index = 0; index < width; index++)
        {
            host.Log.Nodes.Node(level * Tiles.Height, (number * Tiles.Width) + index).CopyTo(bytes.AsSpan(index * Hash256.Size));
        }

        return Send(http, bytes, "public");
    }

    private static IResult Bundle(HttpContext http, LogHost host, string tile)
    {
        if (http.GetCaller().Person is not { Enrolled: true })
        {
            return Problems.Result(StatusCodes.Status403Forbidden, "not-enrolled", "Entries of the whole log are for enrolled persons.");
        }

        if (!TryRead(tile, host.Log.Latest.Size, out var number, out var width) || !IsPath(http, Tiles.EntriesPath(number, width)))
        {
            return NotThere();
        }

        var bundle = new MemoryStream();
        Span<byte> leaf = stackalloc byte[Commitments.MaxLeafData];
        for (var taken = 0; taken < width;)
        {
            var entries = host.Log.Read((number * Tiles.Width) + taken, width - taken, MaxBundleBytes);
            if (entries.Count == 0)
            {
                return NotThere();
            }

            foreach (var entry in entries)
            {
                var length = entry.WriteLeafData(leaf);
                bundle.WriteByte((byte)(length >> 8));
                bundle.WriteByte((byte)length);
                bundle.Write(leaf[..length]);
            }

            taken += entries.Count;
        }

        return Send(http, bundle.ToArray(), "private");
    }

    /// <summary>Reads <c>x001/x234/067</c> or <c>x001/x234/067.p/17</c>.</summary>
    /// <param name="text">What follows the level.</param>
    /// <param name="count">How many hashes or entries the checkpoint has on that level.</param>
    /// <param name="number">Number of the tile.</param>
    /// <param name="width">How many of its 256.</param>
    private static bool TryRead(string text, long count, out long number, out int width)
    {
        number = 0;
        width = Tiles.Width;
        var partial = text.IndexOf(".p/", StringComparison.Ordinal);
        if (partial >= 0 && (!int.TryParse(text.AsSpan(partial + 3), NumberStyles.None, CultureInfo.InvariantCulture, out width) || width is 0 or >= Tiles.Width))
        {
            return false;
        }

        foreach (var part in (partial < 0 ? text : text[..partial]).Split('/'))
        {
            if (!int.TryParse(part.AsSpan().TrimStart('x'), NumberStyles.None, CultureInfo.InvariantCulture, out var digits) || number > 1L << 40)
            {
                return false;
            }

            number = (number * 1000) + digits;
        }

        return (number * Tiles.Width) + width <= count;
    }

    // There is one way to write each: anything else would only fill caches.
    private static bool IsPath(HttpContext http, string path) => http.Request.Path.Value!.EndsWith("/log/" + path, StringComparison.Ordinal);

    private static IResult Send(HttpContext http, byte[] bytes, string cache)
    {
        http.Response.Headers.CacheControl = $"{cache}, max-age=31536000, immutable";
        return Results.Bytes(bytes, "application/octet-stream");
    }

    private static IResult NotThere() => Problems.Result(StatusCodes.Status404NotFound, "not-found", "The latest checkpoint has no such tile.");
}
