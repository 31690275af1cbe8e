namespace Countersign.Policy.Language.Patterns;

/// <summary>The command tags that statements can have: those of PostgreSQL 18, and what the gateway adds to tell apart what PostgreSQL gives one tag.</summary>
public static class CommandTags
{
    /// <summary>All of them, upper case.</summary>
    public static IReadOnlySet<string> All { get; } = Build();

    private static HashSet<string> Build()
    {
        // Objects that CREATE, ALTER and DROP exist for; a tag too many only weakens a spelling check, one too few refuses a right policy.
        string[] objects =
        [
            "ACCESS METHOD", "AGGREGATE", "CAST", "COLLATION", "CONSTRAINT", "CONVERSION", "DATABASE", "DOMAIN", "EVENT TRIGGER", "EXTENSION",
            "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "FUNCTION", "GROUP", "INDEX", "LANGUAGE", "LARGE OBJECT", "MATERIALIZED VIEW", "OPERATOR",
            "OPERATOR CLASS", "OPERATOR FAMILY", "POLICY", "PROCEDURE", "PUBLICATION", "ROLE", "ROUTINE", "RULE", "SCHEMA", "SEQUENCE", "SERVER",
            "STATISTICS", "SUBSCRIPTION", "TABLE", "TABLESPACE", "TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER",
            "TEXT SEARCH TEMPLATE", "TRANSFORM", "TRIGGER", "TYPE", "USER", "USER MAPPING", "VIEW",
        ];
        string[] others =
        [
            "ALTER DEFAULT PRIVILEGES", "ALTER SYSTEM", "ANALYZE", "BEGIN", "CALL", "CHECKPOINT", "CLOSE", "CLOSE CURSOR", "CLOSE CURSOR ALL",
            "CLUSTER", "COMMENT", "COMMIT", "COMMIT PREPARED", "COPY FROM", "COPY TO", "COPY PROGRAM", "COPY FILE", "CREATE TABLE AS", "DEALLOCATE", "DEALLOCATE ALL", "DECLARE CURSOR",
            "DELETE", "DISCARD", "DISCARD ALL", "DISCARD PLANS", "DISCARD SEQUENCES", "DISCARD TEMP", "DO", "DROP OWNED", "EXECUTE", "EXPLAIN", "EXPLAIN ANALYZE", "FETCH",
            "GRANT", "GRANT ROLE", "IMPORT FOREIGN SCHEMA", "INSERT", "LISTEN", "LOAD", "LOCK TABLE", "MERGE", "MOVE", "NOTIFY", "PREPARE",
            "PREPARE TRANSACTION", "REASSIGN OWNED", "REFRESH MATERIALIZED VIEW", "REINDEX", "RELEASE", "RESET", "REVOKE", "REVOKE ROLE",
            "ROLLBACK", "ROLLBACK PREPARED", "SAVEPOINT", "SECURITY LABEL", "SELECT", "SELECT FOR KEY SHARE", "SELECT FOR NO KEY UPDATE",
            "SELECT FOR SHARE", "SELECT FOR UPDATE", "SELECT INTO", "SET", "SET CONSTRAINTS", "SHOW", "START TRANSACTION", "TRUNCATE TABLE",
            "UNLISTEN", "UPDATE", "VACUUM", "VALUES",
        ];
        var tags = new HashSet<string>(others, StringComparer.Ordinal);
        foreach (var item in objects)
        {
            tags.Add("CREATE " + item);
            tags.Add("ALTER " + item);
            tags.Add("DROP " + item);
        }

        return tags;
    }
}
