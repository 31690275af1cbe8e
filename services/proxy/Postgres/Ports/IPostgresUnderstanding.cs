using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Ports;

/// <summary>Step 2 of the path for PostgreSQL: text to facts, by the real grammar, cached.</summary>
public interface IPostgresUnderstanding
{
    /// <summary>Reads a text. The bytes are exactly what the target would get (standard_conforming_strings is on, the encoding UTF8).</summary>
    /// <param name="session">Whose text it is; connection and database choose the catalog for masking.</param>
    /// <param name="text">UTF-8 without a terminator; not kept.</param>
    /// <param name="cancellation">Ends the session.</param>
    ValueTask<UnderstoodText> ReadAsync(PathSession session, ReadOnlyMemory<byte> text, CancellationToken cancellation);
}

/// <summary>What a text means. One instance may be shared by all operations with this text.</summary>
public sealed class UnderstoodText
{
    private volatile Operations.TextEffects? _effects;

    /// <summary>For the policy.</summary>
    public required OperationFacts Facts { get; init; }

    /// <summary>Exact text with secrets masked, for the record.</summary>
    public required string RecordedText { get; init; }

    /// <summary>The text from its first to its last token, for the digest.</summary>
    public required string DigestText { get; init; }

    /// <summary>What must be masked in its results.</summary>
    public required IMaskAnalysis Masking { get; init; }

    /// <summary>What a text without parameters gives the path; shared.</summary>
    internal UnderstoodOperation WithoutParameters => field ??= new UnderstoodOperation(Facts, RecordedText, [], Masking);

    /// <summary>Prepared statements and cursors that the text makes, uses or ends; found on first use.</summary>
    internal Operations.TextEffects Effects(ReadOnlySpan<byte> text) => _effects ??= Operations.TextEffects.Find(Facts, text);
}
