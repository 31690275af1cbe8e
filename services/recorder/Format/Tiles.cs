using System.Globalization;

namespace Countersign.Recorder.Format;

/// <summary>Paths of C2SP tlog-tiles (https://c2sp.org/tlog-tiles): hash tiles of height 8 and bundles of 256 entries.</summary>
public static class Tiles
{
    /// <summary>Hashes of a full tile, entries of a full bundle.</summary>
    public const int Width = 256;
    /// <summary>Levels of the tree that one tile spans.</summary>
    public const int Height = 8;

    /// <summary>Path of a hash tile, e.g. <c>tile/0/x001/234.p/17</c>.</summary>
    /// <param name="level">Level of the tile, not of the tree.</param>
    /// <param name="index">Which tile of the level.</param>
    /// <param name="width">Hashes in it; <see cref="Width"/> for a full one.</param>
    public static string HashPath(int level, long index, int width = Width) =>
        string.Create(CultureInfo.InvariantCulture, $"tile/{level}/{Number(index)}{Partial(width)}");

    /// <summary>Path of an entry bundle, e.g. <c>tile/entries/x001/234</c>.</summary>
    public static string EntriesPath(long index, int width = Width) => $"tile/entries/{Number(index)}{Partial(width)}";

    private static string Partial(int width) => width switch
    {
        Width => "",
        > 0 and < Width => string.Create(CultureInfo.InvariantCulture, $".p/{width}"),
        _ => throw new ArgumentOutOfRangeException(nameof(width)),
    };

    // Groups of three digits, all but the last marked with x: 1234067 is x001/x234/067.
    private static string Number(long index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        var text = (index % 1000).ToString("000", CultureInfo.InvariantCulture);
        while (index >= 1000)
        {
            index /= 1000;
            text = string.Create(CultureInfo.InvariantCulture, $"x{index % 1000:000}/{text}");
        }

        return text;
    }
}
