using System.Text;
using System.Text.RegularExpressions;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;

namespace Countersign.Proxy.Postgres.Impact;

/// <summary>
/// What the gateway sends to find out what an operation would do: a closed set, recorded by name. The texts are constants; names of relations and functions go
/// along as parameters. Three put words of their own around the operation's text (<see cref="Explain"/>, <see cref="Try"/>, <see cref="TryUpdate"/>), which isn't
/// changed; the latter two have quoted names of the target's own catalog in theirs, because no parameter can stand for a name.
/// </summary>
internal sealed partial class ImpactStatement
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
    /// a function, operator, operator class or family, type or access method is on a user's. Looked at are the relations with all that inherits from them and all
    /// that they are parts of: defaults, generated columns, constraints, indexes with their expressions and predicates, statistics on expressions, and the
    /// tables themselves, which is where partition keys hang. Expressions have the types of columns, of the server's functions, or row types: a cast, operator or
    /// operator class of a user for any of them could be meant, also in places that no text shows (assignments, literals whose type is guessed). $1 relations,
    /// $2 names of functions that the statement calls, $3 all names in it: <c>t.f</c> calls f of a row of t.
    /// </summary>
    public static ImpactStatement Safe { get; } = new("impact-safe", """
        WITH RECURSIVE down(oid) AS (
          SELECT unnest($1::oid[]) UNION SELECT i.inhrelid FROM pg_inherits i JOIN down ON i.inhparent = down.oid
        ), up(oid) AS (
          SELECT unnest($1::oid[]) UNION SELECT i.inhparent FROM pg_inherits i JOIN up ON i.inhrelid = up.oid
        ), rels AS (SELECT * FROM pg_class WHERE oid IN (SELECT oid FROM down UNION SELECT oid FROM up)),
        cols(relname, type) AS (SELECT rels.relname, a.atttypid FROM pg_attribute a JOIN rels ON a.attrelid = rels.oid WHERE a.attnum > 0 AND NOT a.attisdropped),
        types(oid) AS (
          SELECT t.oid FROM pg_type t WHERE t.oid >= 16384 AND (t.oid IN (SELECT type FROM cols UNION SELECT reltype FROM rels)
            OR t.typelem IN (SELECT type FROM cols UNION SELECT reltype FROM rels))
        ),
        parts(classid, objid) AS (
          SELECT 'pg_attrdef'::regclass::oid, d.oid FROM pg_attrdef d JOIN rels ON d.adrelid = rels.oid
          UNION ALL SELECT 'pg_constraint'::regclass::oid, k.oid FROM pg_constraint k JOIN rels ON k.conrelid = rels.oid
          UNION ALL SELECT 'pg_class'::regclass::oid, x.indexrelid FROM pg_index x JOIN rels ON x.indrelid = rels.oid
          UNION ALL SELECT 'pg_statistic_ext'::regclass::oid, s.oid FROM pg_statistic_ext s JOIN rels ON s.stxrelid = rels.oid
          UNION ALL SELECT 'pg_class'::regclass::oid, oid FROM rels
        )
        SELECT 'it is not an ordinary table: ' || relname FROM rels WHERE relkind NOT IN ('r', 'p')
        UNION ALL SELECT 'row level security or rules apply to ' || relname FROM rels WHERE relrowsecurity OR relhasrules
        UNION ALL SELECT 'a column has a type of a user in ' || relname FROM cols JOIN pg_type t ON t.oid = cols.type WHERE t.oid >= 16384 AND t.typtype <> 'e'
        UNION ALL SELECT 'a default, constraint, index, statistic or partition key uses code of a user' FROM parts JOIN pg_depend d ON d.classid = parts.classid AND d.objid = parts.objid
          WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_am'::regclass)
          OR (d.refclassid = 'pg_type'::regclass AND d.refobjid NOT IN (SELECT t.oid FROM pg_type t WHERE t.typtype = 'e'))
        UNION ALL SELECT 'a user has defined an operator for types of the server or of the relations' FROM pg_operator
          WHERE oid >= 16384 AND (oprleft BETWEEN 1 AND 16383 OR oprright BETWEEN 1 AND 16383 OR oprleft IN (SELECT oid FROM types) OR oprright IN (SELECT oid FROM types))
        UNION ALL SELECT 'a user has defined an operator class for a type of the relations' FROM pg_opclass WHERE oid >= 16384 AND opcintype IN (SELECT oid FROM types)
        UNION ALL SELECT 'a user has defined a cast for types of the server or of the relations' FROM pg_cast
          WHERE oid >= 16384 AND (castsource IN (SELECT oid FROM types) OR casttarget IN (SELECT oid FROM types)
          OR (castsource < 16384 AND (castcontext = 'i' OR (casttarget < 16384 AND castmethod <> 'b'))))
        UNION ALL SELECT 'a user has defined a function of the same name: ' || proname FROM pg_proc
          WHERE oid >= 16384 AND (proname = ANY ($2::text[]) OR (pronargs > 0 AND proname = ANY ($3::text[])))
        LIMIT 3
        """);

    /// <summary>Other relations that foreign keys of one ($1) lead to or from: a change of it has the server ask them.</summary>
    public static ImpactStatement Related { get; } = new("impact-related", """
        WITH RECURSIVE down(oid) AS (
          SELECT $1::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN down ON i.inhparent = down.oid
        ), up(oid) AS (
          SELECT $1::oid UNION SELECT i.inhparent FROM pg_inherits i JOIN up ON i.inhrelid = up.oid
        ), tree AS (SELECT oid FROM down UNION SELECT oid FROM up)
        SELECT confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid IN (SELECT oid FROM tree)
        UNION SELECT conrelid FROM pg_constraint WHERE contype = 'f' AND confrelid IN (SELECT oid FROM tree)
        """);

    /// <summary>Defaults of a relation ($1) and its partitions, as texts in which only pg_catalog's names stand without their schema.</summary>
    public static ImpactStatement Defaults { get; } = new("impact-defaults", """
        WITH RECURSIVE tree(oid) AS (
          SELECT $1::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid
        )
        SELECT DISTINCT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN tree ON d.adrelid = tree.oid LIMIT 101
        """);

    /// <summary>Why a run that is rolled back could leave something behind. $1 relation, $2 whether defaults are computed.</summary>
    public static ImpactStatement Revertible { get; } = new("impact-revertible", """
        WITH RECURSIVE tree(oid) AS (
          SELECT $1::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid
        )
        SELECT 'triggers run on it' FROM pg_trigger t JOIN tree ON t.tgrelid = tree.oid WHERE NOT t.tgisinternal
        UNION ALL SELECT 'a foreign key changes other tables' FROM pg_constraint k JOIN tree ON k.confrelid = tree.oid
          WHERE k.contype = 'f' AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
        UNION ALL SELECT 'a sequence would go on' FROM pg_attribute a JOIN tree ON a.attrelid = tree.oid WHERE $2::boolean AND a.attidentity <> ''
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
    public static IReadOnlyList<ImpactStatement> All { get; } =
        [Begin, BeginTry, Rollback, Names, Path, DefaultPath, Safe, Related, Defaults, Revertible, Explain, Key, Try, TryUpdate];

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
        // In one pass: a name may look like a place.
        var behind = Place().Replace(_behind, place => names.First(name => name.Place == place.Value).Sql);
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

    [GeneratedRegex("\\$(?:columns|relation|key)", RegexOptions.CultureInvariant)]
    private static partial Regex Place();

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
