using System.Collections.Frozen;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Postgres.Catalog;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>Objects of the server and its extensions that show values of any table, or what others have typed. Closed lists, checked against the facts of leak paths.</summary>
internal static class SensitiveObjects
{
    // Statistics hold values of columns; statements of others hold their literals.
    private static readonly FrozenSet<string> Relations = new[]
    {
        "pg_stats", "pg_statistic", "pg_stats_ext", "pg_stats_ext_exprs", "pg_statistic_ext_data", "pg_stat_statements", "pg_prepared_statements",
        "pg_largeobject", "pg_stat_monitor", "pg_store_plans",
    }.ToFrozenSet();

    // Functions that take SQL or the name of a relation as text and return its values, read files of the server, or show others' statements.
    private static readonly FrozenSet<string> Functions = new[]
    {
        "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema",
        "schema_to_xml", "schema_to_xml_and_xmlschema", "database_to_xml", "database_to_xml_and_xmlschema", "cursor_to_xml", "ts_stat", "ts_rewrite",
        "xpath_table", "crosstab", "crosstabn", "crosstab2", "crosstab3", "crosstab4", "connectby",
        "dblink", "dblink_exec", "dblink_open", "dblink_fetch", "dblink_send_query", "dblink_get_result", "dblink_build_sql_insert", "dblink_build_sql_update",
        "pg_read_file", "pg_read_binary_file", "pg_ls_dir", "pg_current_logfile", "pg_file_read", "pg_logdir_ls",
        "get_raw_page", "heap_page_items", "heap_page_item_attrs", "tuple_data_split", "bt_page_items", "gist_page_items", "brin_page_items", "hash_page_items",
        "pg_stat_get_activity", "pg_stat_get_backend_activity", "pg_stat_statements", "pg_prepared_statement", "pg_mcv_list_items",
        "pg_logical_slot_get_changes", "pg_logical_slot_peek_changes", "pg_logical_slot_get_binary_changes", "pg_logical_slot_peek_binary_changes",
        "pg_get_wal_records_info", "pg_get_wal_record_info", "pg_get_wal_block_info",
    }.ToFrozenSet();

    // Statements whose effect no text shows, or that give relations other names: with masks in force they could carry values out.
    private static readonly FrozenSet<string> Carriers = new[]
    {
        "DO", "CREATE FUNCTION", "CREATE PROCEDURE", "ALTER FUNCTION", "ALTER PROCEDURE", "ALTER ROUTINE", "CREATE RULE", "CREATE TRIGGER",
        "CREATE EVENT TRIGGER", "CREATE AGGREGATE", "CREATE OPERATOR", "CREATE CAST", "CREATE LANGUAGE", "CREATE EXTENSION", "CREATE TRANSFORM",
        "CREATE FOREIGN TABLE", "IMPORT FOREIGN SCHEMA", "CREATE PUBLICATION", "ALTER PUBLICATION", "CREATE SUBSCRIPTION", "ALTER SUBSCRIPTION",
    }.ToFrozenSet();

    /// <summary>Whether a relation by this name holds values of others. A schema of a user doesn't help: extensions live anywhere.</summary>
    public static bool MasksWhole(string? schema, string name) => schema != "information_schema" && Relations.Contains(name);

    /// <summary>Whether a column shows what another session is running.</summary>
    public static bool IsQueryText(CatalogRelation relation, string column) =>
        relation is { IsSystem: true, Schema: "pg_catalog", Name: "pg_stat_activity" } && column == "query";

    /// <summary>Whether a function of this name shows values that no parse tree names.</summary>
    public static bool ShowsValues(ObjectName function) => Functions.Contains(function.Name);

    /// <summary>Whether statements of this kind could carry masked values out unseen.</summary>
    public static bool Carries(string kind) => Carriers.Contains(kind);
}
