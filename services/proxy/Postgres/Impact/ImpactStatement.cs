using System.Text;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;

namespace Countersign.Proxy.Postgres.Impact;

/// <summary>
/// What the gateway sends to find out what an operation would do: a closed set, recorded by name. The texts are constants; names of relations and functions go
/// along as parameters. Three put words of their own around the operation's text (<see cref="Explain"/>, <see cref="Try"/>, <see cref="TryUpdate"/>), which isn't
/// changed; the latter two have quoted names of the target's own catalog in theirs, because no parameter can stand for a name.
/// </summary>
internal sealed class ImpactStatement
{
    /// <summary>Opens a transaction that can't write, with little patience.</summary>
    public static ImpactStatement Begin { get; } = new("impact-begin", "BEGIN READ ONLY; SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '300ms'");

    /// <summary>Opens a transaction that can, and that is never committed. What it shows as before and after is of one moment.</summary>
    public static ImpactStatement BeginTry { get; } = new("impact-try-begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '300ms'");

    /// <summary>Ends it.</summary>
    public static ImpactStatement Rollback { get; } = new("impact-rollback", "ROLLBACK");

    /// <summary>What the names mean, by the connection's own search_path: place, OID.</summary>
    public static ImpactStatement Names { get; } = new(
        "impact-names", "SELECT n, pg_catalog.to_regclass(n)::pg_catalog.oid FROM pg_catalog.unnest($1::pg_catalog.text[]) AS t(n)");

    /// <summary>From here on unqualified names and operators in the gateway's own statements mean pg_catalog's.</summary>
    public static ImpactStatement Path { get; } = new("impact-path", "SET LOCAL search_path = pg_catalog");

    /// <summary>And back.</summary>
    public static ImpactStatement DefaultPath { get; } = new("impact-default-path", "RESET search_path");

    /// <summary>
    /// Why planning could run code of users, one row a reason; none where it certainly can't. The server records no dependency on its own objects, so each one on
    /// a function, operator, operator class or access method is on a user's. $1 relations, $2 names of functions that the statement calls.
    /// </summary>
    public static ImpactStatement Safe { get; } = new("impact-safe", """
        WITH RECURSIVE tree(oid) AS (
          SELECT unnest($1::oid[]) UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid
        ), rels AS (SELECT c.* FROM pg_class c JOIN tree ON c.oid = tree.oid),
        parts(classid, objid) AS (
          SELECT 'pg_attrdef'::regclass::oid, d.oid FROM pg_attrdef d JOIN rels ON d.adrelid = rels.oid
          UNION ALL SELECT 'pg_constraint'::regclass::oid, k.oid FROM pg_constraint k JOIN rels ON k.conrelid = rels.oid
          UNION ALL SELECT 'pg_class'::regclass::oid, x.indexrelid FROM pg_index x JOIN rels ON x.indrelid = rels.oid
        )
        SELECT 'it is not an ordinary table: ' || relname FROM rels WHERE relkind NOT IN ('r', 'p')
        UNION ALL SELECT 'row level security or rules apply to ' || relname FROM rels WHERE relrowsecurity OR relhasrules
        UNION ALL SELECT 'a column has a type of a user in ' || rels.relname FROM rels JOIN pg_attribute a ON a.attrelid = rels.oid AND a.attnum > 0 AND NOT a.attisdropped
          JOIN pg_type t ON t.oid = a.atttypid WHERE t.oid >= 16384
          AND (t.typtype <> 'e' OR EXISTS (SELECT FROM pg_operator o WHERE o.oid >= 16384 AND t.oid IN (o.oprleft, o.oprright)))
        UNION ALL SELECT 'a default, constraint or index uses code of a user' FROM parts JOIN pg_depend d ON d.classid = parts.classid AND d.objid = parts.objid
          AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_am'::regclass)
        UNION ALL SELECT 'a user has defined an operator for types of the server' FROM pg_operator
          WHERE oid >= 16384 AND oprleft < 16384 AND oprright < 16384
        UNION ALL SELECT 'a user has defined an implicit cast from a type of the server' FROM pg_cast WHERE oid >= 16384 AND castsource < 16384 AND castcontext = 'i'
        UNION ALL SELECT 'a user has defined a function of the same name: ' || proname FROM pg_proc WHERE oid >= 16384 AND proname = ANY ($2::text[])
        LIMIT 3
        """);

    /// <summary>Why a run that is rolled back could leave something behind. $1 relation, $2 whether rows are inserted.</summary>
    public static ImpactStatement Revertible { get; } = new("impact-revertible", """
        WITH RECURSIVE tree(oid) AS (
          SELECT $1::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid
        )
        SELECT 'triggers run on it' FROM pg_trigger t JOIN tree ON t.tgrelid = tree.oid WHERE NOT t.tgisinternal
        UNION ALL SELECT 'a foreign key changes other tables' FROM pg_constraint k JOIN tree ON k.confrelid = tree.oid
          WHERE k.contype = 'f' AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
        UNION ALL SELECT 'a sequence would go on' FROM pg_attribute a JOIN tree ON a.attrelid = tree.oid WHERE $2::boolean AND a.attidentity <> ''
        UNION ALL SELECT 'a sequence would go on' FROM pg_attrdef f JOIN tree ON f.adrelid = tree.oid JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
          AND d.refclassid = 'pg_class'::regclass JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' WHERE $2::boolean
        LIMIT 3
        """);

    /// <summary>The planner's estimate for an operation.</summary>
    public static ImpactStatement Explain { get; } = new("impact-explain", "EXPLAIN (FORMAT JSON) ", "");

    /// <summary>
    /// Schema, name and columns of the primary key of a relation ($1), where it tells its rows apart for certain: a parent's key doesn't hold over what inherits
    /// from it, a deferred one may be broken for a while, and a computed column changes with others.
    /// </summary>
    public static ImpactStatement Key { get; } = new("impact-key", """
        SELECT n.nspname, c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_index x ON x.indrelid = c.oid AND x.indisprimary AND x.indimmediate AND x.indisvalid
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (x.indkey)
          WHERE c.oid = $1::oid AND (c.relkind = 'p' OR NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid))
          AND NOT EXISTS (SELECT FROM pg_attribute g WHERE g.attrelid = c.oid AND g.attnum = ANY (x.indkey) AND g.attgenerated <> '')
        """);

    /// <summary>Runs an UPDATE, DELETE or INSERT, counts what it does, and shows rows of what it changes: $columns is what it names that by, with a star.</summary>
    public static ImpactStatement Try { get; } = new(
        "impact-try", "WITH countersign_change AS (", "\nRETURNING $columns) SELECT *, pg_catalog.count(*) OVER () FROM countersign_change LIMIT 5");

    /// <summary>
    /// The same for an UPDATE that leaves its table's primary key alone, with each row as it was in front: every part of one statement sees the same snapshot, the
    /// one from before the change. $relation and $key stand for quoted names.
    /// </summary>
    public static ImpactStatement TryUpdate { get; } = new(
        "impact-try-update", "WITH countersign_change AS (",
        "\nRETURNING $columns) SELECT countersign_old.*, countersign_change.*, pg_catalog.count(*) OVER () FROM countersign_change LEFT JOIN $relation AS countersign_old ON $key LIMIT 5");

    private readonly string _text;
    private readonly string? _behind;

    private ImpactStatement(string name, string text, string? behind = null)
    {
        Name = name;
        _text = text;
        _behind = behind;
    }

    /// <summary>Name in recordings.</summary>
    public string Name { get; }

    /// <summary>All of them by name.</summary>
    public static IReadOnlyList<ImpactStatement> All { get; } = [Begin, BeginTry, Rollback, Names, Path, DefaultPath, Safe, Revertible, Explain, Key, Try, TryUpdate];

    /// <summary>Writes a constant as a simple Query.</summary>
    public void Write(OutputBuffer output)
    {
        if (_behind is not null)
        {
            throw new InvalidOperationException("This one needs an operation.");
        }

        output.Begin(FrontendType.Query);
        output.WriteCString(_text);
        output.End();
    }

    /// <summary>Writes a constant with parameters in text format.</summary>
    public void Write(OutputBuffer output, params string[] parameters)
    {
        if (_behind is not null)
        {
            throw new InvalidOperationException("This one needs an operation.");
        }

        WriteParse(output, Encoding.UTF8.GetBytes(_text), []);
        output.Begin(FrontendType.Bind);
        output.WriteByte(0);
        output.WriteByte(0);
        output.WriteInt16(0);
        output.WriteInt16((short)parameters.Length);
        foreach (var parameter in parameters)
        {
            var bytes = Encoding.UTF8.GetBytes(parameter);
            output.WriteInt32(bytes.Length);
            output.WriteBytes(bytes);
        }

        output.WriteInt16(0);
        output.End();
        WriteRun(output);
    }

    /// <summary>Writes it around an operation's text, with the operation's own parameters, bytes and types as the client sent them.</summary>
    /// <param name="output">To the target.</param>
    /// <param name="operation">The operation.</param>
    /// <param name="names">Quoted names for the places in it.</param>
    public void Write(OutputBuffer output, PostgresOperation operation, params (string Place, string Sql)[] names)
    {
        if (_behind is null)
        {
            throw new InvalidOperationException("This one takes no operation.");
        }

        var trimmed = operation.Understood!.Analysis.TrimmedText;
        var behind = names.Aggregate(_behind, (text, name) => text.Replace(name.Place, name.Sql, StringComparison.Ordinal));
        WriteParse(output, Encoding.UTF8.GetBytes(_text + trimmed + behind), operation.Statement?.Types ?? []);
        output.Begin(FrontendType.Bind);
        output.WriteByte(0);
        output.WriteByte(0);
        var values = operation.Bind.Values ?? [];
        output.WriteInt16((short)values.Length);
        for (var index = 0; index < values.Length; index++)
        {
            output.WriteInt16(operation.Bind.FormatOf(index));
        }

        output.WriteInt16((short)values.Length);
        foreach (var value in values)
        {
            output.WriteInt32(value.Length);
            if (value.Length > 0)
            {
                output.WriteBytes(operation.Message.Span.Slice(5 + value.Offset, value.Length));
            }
        }

        output.WriteInt16(0);
        output.End();
        WriteRun(output);
    }

    /// <summary>An array of texts as the server reads it.</summary>
    public static string Array(IEnumerable<string> texts) =>
        $"{{{string.Join(',', texts.Select(text => $"\"{text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\""))}}}";

    private static void WriteParse(OutputBuffer output, ReadOnlySpan<byte> text, uint[] types)
    {
        output.Begin(FrontendType.Parse);
        output.WriteByte(0);
        output.WriteBytes(text);
        output.WriteByte(0);
        output.WriteInt16((short)types.Length);
        foreach (var type in types)
        {
            output.WriteInt32((int)type);
        }

        output.End();
    }

    private static void WriteRun(OutputBuffer output)
    {
        output.Begin(FrontendType.Describe);
        output.WriteByte((byte)'P');
        output.WriteByte(0);
        output.End();
        output.Begin(FrontendType.Execute);
        output.WriteByte(0);
        output.WriteInt32(0);
        output.End();
        output.WriteEmpty(FrontendType.Sync);
    }
}
