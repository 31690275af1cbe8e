namespace Countersign.Proxy.Postgres.Catalog;

/// <summary>A statement of the gateway's own that reads the target's catalog. A closed set of constants: no value of a session ever becomes part of one.</summary>
public sealed class CatalogStatement
{
    /// <summary>The search path that view definitions are written for: one JSON array.</summary>
    public static readonly CatalogStatement SearchPath = new(
        "catalog-path", "SELECT pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text");

    /// <summary>Relations: oid, schema, name, kind, whether user triggers or rules run on it, foreign table options (JSON), view definition.</summary>
    public static readonly CatalogStatement Relations = new("catalog-relations", """
        SELECT c.oid, n.nspname, c.relname, c.relkind,
          (EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid AND NOT t.tgisinternal)
            OR (c.relhasrules AND c.relkind NOT IN ('v', 'm')))::pg_catalog.int4,
          (SELECT pg_catalog.array_to_json(f.ftoptions)::pg_catalog.text FROM pg_catalog.pg_foreign_table f WHERE f.ftrelid OPERATOR(pg_catalog.=) c.oid),
          CASE WHEN c.relkind IN ('v', 'm') AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid THEN pg_catalog.pg_get_viewdef(c.oid) END
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND n.nspname OPERATOR(pg_catalog.!~) '^pg_toast'
        """);

    /// <summary>Columns in order: relation oid, number, name, type oid, foreign column options (JSON), whether it is generated.</summary>
    public static readonly CatalogStatement Columns = new("catalog-columns", """
        SELECT a.attrelid, a.attnum, a.attname, a.atttypid, pg_catalog.array_to_json(a.attfdwoptions)::pg_catalog.text, a.attgenerated
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
        WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S') AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
        ORDER BY a.attrelid, a.attnum
        """);

    /// <summary>What views and materialized views of users read: view oid, relation oid, column number (0 for a whole row); relation oid 0 where they call a function of a user.</summary>
    public static readonly CatalogStatement ViewReads = new("catalog-view-reads", """
        SELECT DISTINCT r.ev_class, CASE WHEN d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass THEN 0::pg_catalog.oid ELSE d.refobjid END, d.refobjsubid
        FROM pg_catalog.pg_rewrite r
        JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.ev_class AND c.relkind IN ('v', 'm') AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
        JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) r.oid
        WHERE d.refclassid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass) AND d.refobjid OPERATOR(pg_catalog.<>) r.ev_class
        """);

    /// <summary>Inheritance and partitions: child oid, parent oid.</summary>
    public static readonly CatalogStatement Inheritance = new(
        "catalog-inheritance", "SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i");

    /// <summary>Generated columns: relation oid, number, number of a column that the expression reads. Servers record that at the column (14) or at its default (15 and later).</summary>
    public static readonly CatalogStatement Generated = new("catalog-generated", """
        SELECT g.adrelid, g.adnum, d.refobjsubid
        FROM pg_catalog.pg_attrdef g
        JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) g.adrelid AND a.attnum OPERATOR(pg_catalog.=) g.adnum AND a.attgenerated OPERATOR(pg_catalog.<>) ''
        JOIN pg_catalog.pg_depend d ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.=) g.adrelid
          AND ((d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) g.oid)
            OR (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) g.adrelid AND d.objsubid OPERATOR(pg_catalog.=) g.adnum))
        WHERE d.refobjsubid OPERATOR(pg_catalog.<>) 0 AND d.refobjsubid OPERATOR(pg_catalog.<>) g.adnum
        """);

    /// <summary>Types of users: oid, type kind, category, base type of a domain, name of the send function.</summary>
    public static readonly CatalogStatement Types = new("catalog-types", """
        SELECT t.oid, t.typtype, t.typcategory, t.typbasetype, p.proname
        FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.typsend
        WHERE t.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
        """);

    /// <summary>Functions: schema, name, whether it belongs to the server itself, whether any of that name is volatile, language, extension, whether any takes a single value (<c>t.f</c>).</summary>
    public static readonly CatalogStatement Functions = new("catalog-functions", """
        SELECT n.nspname, p.proname, (p.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid)::pg_catalog.int4,
          pg_catalog.max((p.provolatile OPERATOR(pg_catalog.=) 'v')::pg_catalog.int4), l.lanname, e.extname,
          pg_catalog.max((p.pronargs OPERATOR(pg_catalog.>) 0 AND (p.pronargs OPERATOR(pg_catalog.-) p.pronargdefaults OPERATOR(pg_catalog.<=) 1
            OR (p.provariadic OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND p.pronargs OPERATOR(pg_catalog.<=) 2)))::pg_catalog.int4)
        FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
        JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
        LEFT JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
        LEFT JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
        GROUP BY 1, 2, 3, 5, 6
        """);

    private CatalogStatement(string name, string sql)
    {
        Name = name;
        Sql = sql;
    }

    /// <summary>All of them, in the order in which they are read.</summary>
    public static IReadOnlyList<CatalogStatement> All { get; } =
        [SearchPath, Types, Functions, Columns, Relations, Inheritance, Generated, ViewReads];

    /// <summary>Stable name, for the record.</summary>
    public string Name { get; }

    /// <summary>The text.</summary>
    public string Sql { get; }
}

/// <summary>Runs catalog statements at a target: implemented by whoever holds a connection to it.</summary>
public interface IGatewayQuery
{
    /// <summary>Runs a statement by the simple protocol and returns its rows in text format; NULL is null.</summary>
    /// <exception cref="IOException">The target failed or answered with an error.</exception>
    ValueTask<IReadOnlyList<IReadOnlyList<string?>>> RunAsync(CatalogStatement statement, CancellationToken cancellation);
}
