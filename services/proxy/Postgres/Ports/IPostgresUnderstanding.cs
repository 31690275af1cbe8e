using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Ports;

/// <summary>Step 2 of the path for PostgreSQL: text to facts, by the real grammar, cached; and what must be masked, by the target's catalog.</summary>
public interface IPostgresUnderstanding
{
    /// <summary>Reads a text. The bytes are exactly what the target would get (standard_conforming_strings is on, the encoding UTF8).</summary>
    /// <param name="text">UTF-8 without a terminator; not kept.</param>
    /// <param name="cancellation">Ends the session.</param>
    ValueTask<SqlAnalysis> AnalyzeAsync(ReadOnlyMemory<byte> text, CancellationToken cancellation);

    /// <summary>Makes sure that the catalog of the session's target is as new as its masks need. Completes synchronously where it is; a catalog that can't be read is no error here.</summary>
    ValueTask ReadyAsync(PathSession session, CancellationToken cancellation);

    /// <summary>Says that an operation that may change the catalog has come into effect (its transaction has ended).</summary>
    /// <param name="session">The session.</param>
    /// <param name="tainted">Relations that an approved operation filled from masked columns.</param>
    void CatalogChanged(PathSession session, IReadOnlyList<ObjectName> tainted);

    /// <summary>The mask analysis of an analysis for this session's target; called once a distinct text in a session, its plan for every operation.</summary>
    IMaskAnalysis Masking(PathSession session, SqlAnalysis analysis);
}
