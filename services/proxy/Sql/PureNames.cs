using System.Collections.Frozen;
using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Sql;

/// <summary>Functions, operators and types of pg_catalog that are known to be without effects. An allow-list: what isn't here may do anything.</summary>
public static class PureNames
{
    private const string Catalog = "pg_catalog";

    /// <summary>Functions that run SQL text, or read a relation, that an argument names: pg_catalog's, and those of well-known extensions. By last name, in any schema.</summary>
    private static readonly FrozenSet<string> SqlTakers = new[]
    {
        "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "cursor_to_xml", "cursor_to_xmlschema", "table_to_xml", "table_to_xmlschema",
        "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xmlschema", "schema_to_xml_and_xmlschema", "database_to_xml", "database_to_xmlschema",
        "database_to_xml_and_xmlschema", "ts_stat", "ts_rewrite", "crosstab", "crosstab2", "crosstab3", "crosstab4", "crosstabn", "crosstab_hash", "connectby",
        "xpath_table", "dblink", "dblink_exec", "dblink_open", "dblink_fetch", "dblink_send_query", "dblink_get_result", "dblink_build_sql_insert",
        "dblink_build_sql_update", "dblink_build_sql_delete", "get_raw_page", "heap_page_items", "heap_page_item_attrs", "bt_page_items", "pgstattuple",
        "schedule", "schedule_in_database", "alter_job", "plpgsql_check_function", "hypopg_create_index", "run_command_on_workers", "run_command_on_shards",
        "run_command_on_placements", "create_distributed_table", "pg_background_launch", "job_create", "add_job", "run_job",
        "pg_logical_slot_get_changes", "pg_logical_slot_peek_changes", "pg_logical_slot_get_binary_changes", "pg_logical_slot_peek_binary_changes",
    }.ToFrozenSet(StringComparer.Ordinal);

    private static readonly Dictionary<string, FrozenSet<string>> Lists = Read();
    private static readonly FrozenSet<string> Functions = Lists["functions"];
    private static readonly FrozenSet<string> Operators = Lists["operators"];
    private static readonly FrozenSet<string> Types = Lists["types"];

    /// <summary>Whether a function is on the list. A name without schema counts, and holds only under a search_path that begins with pg_catalog.</summary>
    public static bool IsFunction(ObjectName name) => name.Schema is null or Catalog && Functions.Contains(name.Name);

    /// <summary>Whether an operator is on the list.</summary>
    public static bool IsOperator(ObjectName name) => name.Schema is null or Catalog && Operators.Contains(name.Name);

    /// <summary>Whether a type is on the list.</summary>
    public static bool IsType(ObjectName name) => name.Schema is null or Catalog && Types.Contains(name.Name);

    /// <summary>Whether a function of this name, in whatever schema, runs what an argument says.</summary>
    public static bool TakesSql(string name) => SqlTakers.Contains(name);

    private static Dictionary<string, FrozenSet<string>> Read()
    {
        using var stream = typeof(PureNames).Assembly.GetManifestResourceStream("PureNames.txt")
            ?? throw new InvalidOperationException("PureNames.txt is not embedded.");
        using var reader = new StreamReader(stream);
        var lists = new Dictionary<string, List<string>>();
        var current = new List<string>();
        while (reader.ReadLine() is { } line)
        {
            if (line.StartsWith("# ", StringComparison.Ordinal))
            {
                continue;
            }

            if (line.StartsWith('[') && line.EndsWith(']'))
            {
                lists[line[1..^1]] = current = [];
                continue;
            }

            current.AddRange(line.Split(' ', StringSplitOptions.RemoveEmptyEntries));
        }

        return lists.ToDictionary(list => list.Key, list => list.Value.ToFrozenSet(StringComparer.Ordinal));
    }
}
