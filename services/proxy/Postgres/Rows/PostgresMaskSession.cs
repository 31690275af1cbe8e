using System.Buffers;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>What masking keeps for one session: the key of its hashes, and whether masks were ever in force in it.</summary>
public sealed class PostgresMaskSession
{
    /// <summary>Key of <see cref="MaskStrategy.Hash"/>.</summary>
    public MaskKey Key { get; } = new();

    /// <summary>True once an operation of the session had masks or detectors: from then on texts that belong to no operation are searched.</summary>
    public bool Masks { get; internal set; }

    /// <summary>True once an approved operation could carry masked values out: settings and notifications may hold them from then on.</summary>
    internal bool Laundered { get; set; }

    /// <summary>
    /// NoticeResponse, ErrorResponse, ParameterStatus and NotificationResponse while no operation runs, or none that the session can name (at Sync, deferred
    /// triggers run, settings are reported and notifications come). Other sessions send notifications, so whatever a detector finds in
    /// them is overwritten; of notices and errors only those texts stay that quote no data.
    /// </summary>
    /// <param name="type">Type byte.</param>
    /// <param name="body">Body.</param>
    /// <param name="output">Where the message is written for <see cref="RowVerdict.Rewritten"/>.</param>
    public RowVerdict RewriteIdle(byte type, ReadOnlySpan<byte> body, IBufferWriter<byte> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        if (!Masks)
        {
            return RowVerdict.Pass;
        }

        var changed = type switch
        {
            (byte)'E' or (byte)'N' => PostgresTextScrub.ErrorOrNotice(type, body, TextRule.Deferred, DetectorSet.All, output),
            (byte)'S' => PostgresTextScrub.ParameterStatus(body, Laundered ? TextRule.Touches : TextRule.Idle, output),
            (byte)'A' => PostgresTextScrub.Notification(body, Laundered ? TextRule.Touches : TextRule.Idle, output),
            _ => false,
        };
        return changed ? RowVerdict.Rewritten : RowVerdict.Pass;
    }
}
