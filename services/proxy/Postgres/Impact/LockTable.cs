using System.Text;
using Countersign.Proxy.Sql.Lexing;

namespace Countersign.Proxy.Postgres.Impact;

/// <summary>What a statement locks, and whether it writes a table anew or reads all of it, for people (docs/operations/impact.md shows the same table).</summary>
/// <param name="Words">Words that the statement must have in this order, others between them allowed.</param>
/// <param name="Lock">Lock on the relation, as the PostgreSQL manual names it.</param>
/// <param name="Note">What that means.</param>
internal sealed record LockRow(string Words, string Lock, string Note);

/// <summary>
/// Lock levels by form of statement (PostgreSQL manual 13.3 and the pages of the commands). Found by the statement's words outside of literals and names: a
/// note for the approver, never a decision. What isn't listed gets no note.
/// </summary>
internal static class LockTable
{
    private const string Exclusive = "ACCESS EXCLUSIVE";
    private const string BlocksAll = "blocks all reads and writes of it until the transaction ends";
    private const string BlocksWrites = "blocks writes of it until the transaction ends, reads go on";
    private const string BlocksNothing = "reads and writes of it go on";

    /// <summary>The first row that fits counts: the narrower form stands before the wider.</summary>
    public static IReadOnlyList<LockRow> Rows { get; } =
    [
        new("ALTER TABLE ALTER TYPE", Exclusive, $"{BlocksAll}; writes the whole table and its indexes anew unless the types are binary compatible"),
        new("ALTER TABLE SET LOGGED", Exclusive, $"{BlocksAll}; writes the whole table anew"),
        new("ALTER TABLE SET UNLOGGED", Exclusive, $"{BlocksAll}; writes the whole table anew"),
        new("ALTER TABLE SET TABLESPACE", Exclusive, $"{BlocksAll}; copies the whole table"),
        new("ALTER TABLE SET ACCESS METHOD", Exclusive, $"{BlocksAll}; writes the whole table anew"),
        new("ALTER TABLE SET NOT NULL", Exclusive, $"{BlocksAll}; reads the whole table unless a valid CHECK constraint proves it"),
        new("ALTER TABLE VALIDATE CONSTRAINT", "SHARE UPDATE EXCLUSIVE", $"{BlocksNothing}; reads the whole table"),
        new("ALTER TABLE ADD FOREIGN KEY NOT VALID", "SHARE ROW EXCLUSIVE", $"{BlocksWrites}, on the referenced table too"),
        new("ALTER TABLE ADD FOREIGN KEY", "SHARE ROW EXCLUSIVE", $"{BlocksWrites}, on the referenced table too; reads the whole table"),
        new("ALTER TABLE ADD CONSTRAINT NOT VALID", Exclusive, $"{BlocksAll}, but for a moment only"),
        new("ALTER TABLE ADD CONSTRAINT USING INDEX", Exclusive, $"{BlocksAll}, but for a moment only"),
        new("ALTER TABLE ADD CONSTRAINT", Exclusive, $"{BlocksAll}; reads the whole table or builds an index"),
        new("ALTER TABLE ADD PRIMARY KEY", Exclusive, $"{BlocksAll}; builds an index"),
        new("ALTER TABLE ADD UNIQUE", Exclusive, $"{BlocksAll}; builds an index"),
        new("ALTER TABLE ADD DEFAULT", Exclusive, $"{BlocksAll}; writes the whole table anew where the default is volatile"),
        new("ALTER TABLE ADD GENERATED", Exclusive, $"{BlocksAll}; writes the whole table anew"),
        new("ALTER TABLE ADD", Exclusive, $"{BlocksAll}, but for a moment only"),
        new("ALTER TABLE ATTACH PARTITION", "SHARE UPDATE EXCLUSIVE", $"{BlocksNothing}; the new partition is locked against everything and may be read whole"),
        new("ALTER TABLE DETACH PARTITION CONCURRENTLY", "SHARE UPDATE EXCLUSIVE", BlocksNothing),
        new("ALTER TABLE SET STATISTICS", "SHARE UPDATE EXCLUSIVE", BlocksNothing),
        new("ALTER TABLE", Exclusive, $"{BlocksAll}, but for a moment only where nothing is rewritten"),
        new("ALTER INDEX", Exclusive, "blocks use of the index, and so of its table, for a moment"),
        new("ALTER SEQUENCE", "SHARE ROW EXCLUSIVE", "blocks use of the sequence until the transaction ends"),
        new("CREATE INDEX CONCURRENTLY", "SHARE UPDATE EXCLUSIVE", $"{BlocksNothing}; reads the whole table twice, and can't be undone with a transaction"),
        new("CREATE INDEX", "SHARE", $"{BlocksWrites}; reads the whole table"),
        new("CREATE TRIGGER", "SHARE ROW EXCLUSIVE", BlocksWrites),
        new("CREATE RULE", Exclusive, BlocksAll),
        new("DROP INDEX CONCURRENTLY", "SHARE UPDATE EXCLUSIVE", BlocksNothing),
        new("DROP TABLE", Exclusive, $"{BlocksAll}; its data are gone once that is committed"),
        new("DROP INDEX", Exclusive, "blocks all reads and writes of its table until the transaction ends"),
        new("DROP", Exclusive, BlocksAll),
        new("TRUNCATE", Exclusive, $"{BlocksAll}; all its rows are gone once that is committed, and no trigger sees them one by one"),
        new("REINDEX CONCURRENTLY", "SHARE UPDATE EXCLUSIVE", BlocksNothing),
        new("REINDEX", "SHARE", $"{BlocksWrites}, and use of the index; builds it anew"),
        new("CLUSTER", Exclusive, $"{BlocksAll}; writes the whole table anew"),
        new("VACUUM FULL", Exclusive, $"{BlocksAll}; writes the whole table anew"),
        new("VACUUM", "SHARE UPDATE EXCLUSIVE", BlocksNothing),
        new("ANALYZE", "SHARE UPDATE EXCLUSIVE", BlocksNothing),
        new("REFRESH MATERIALIZED VIEW CONCURRENTLY", "EXCLUSIVE", $"{BlocksWrites}; runs its whole query"),
        new("REFRESH MATERIALIZED VIEW", Exclusive, $"{BlocksAll}; runs its whole query"),
        new("LOCK", Exclusive, "as the statement says, by default against everything, until the transaction ends"),
        new("SELECT FOR UPDATE", "ROW SHARE", "locks the rows that it returns until the transaction ends"),
        new("SELECT FOR SHARE", "ROW SHARE", "locks the rows that it returns against changes until the transaction ends"),
        new("UPDATE", "ROW EXCLUSIVE", "locks the rows that it changes until the transaction ends"),
        new("DELETE", "ROW EXCLUSIVE", "locks the rows that it deletes until the transaction ends"),
        new("MERGE", "ROW EXCLUSIVE", "locks the rows that it changes until the transaction ends"),
    ];

    /// <summary>The row of a statement; null where nothing is known, or nothing is worth saying.</summary>
    /// <param name="text">The statement.</param>
    /// <param name="kind">Its command tag: what it is, where its words could be anything's.</param>
    public static LockRow? Of(string text, string kind)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(kind);
        var words = Words(text);
        var first = kind.Split(' ')[0];
        return Rows.FirstOrDefault(row => row.Words.StartsWith(first, StringComparison.Ordinal) && Has(words, row.Words.Split(' ')));
    }

    private static bool Has(List<string> words, string[] wanted)
    {
        var next = 0;
        foreach (var word in words)
        {
            if (next < wanted.Length && word == wanted[next])
            {
                next++;
            }
        }

        return next == wanted.Length;
    }

    private static List<string> Words(string text)
    {
        var utf8 = Encoding.UTF8.GetBytes(text);
        var lexer = new SqlLexer(utf8);
        var words = new List<string>();
        while (lexer.Next() is { Kind: not SqlTokenKind.End } token)
        {
            if (token.Kind == SqlTokenKind.Word)
            {
                words.Add(Encoding.UTF8.GetString(utf8.AsSpan(token.Start, token.End - token.Start)).ToUpperInvariant());
            }
        }

        return words;
    }
}
