using Countersign.Policy.Contracts;

namespace Countersign.Proxy.Sql.Analysis;

/// <summary>What was understood of one text: the facts for the policy, and a model of where results come from for the mask planner.</summary>
/// <remarks>
/// Immutable once published, cached by exact text (or by its shape: see <see cref="Shape"/>) and shared between sessions. The model knows names only, no catalog: an unqualified column, a
/// whole row and a star can only be resolved together with the target's catalog. Where <see cref="OperationFacts.Complete"/> is false or
/// <see cref="SqlStatement.Opaque"/> is set, the model is a lower bound: everything the operation returns must count as masked.
/// </remarks>
public sealed class SqlAnalysis
{
    /// <summary>Facts for the policy.</summary>
    public required OperationFacts Facts { get; init; }

    /// <summary>One element a top-level statement; same order and count as <see cref="OperationFacts.Statements"/>.</summary>
    public IReadOnlyList<SqlStatement> Statements { get; init; } = [];

    /// <summary>The text from its first to its last token, for the digest and for the approver.</summary>
    public string TrimmedText { get; init; } = "";

    /// <summary>The whole text with secrets replaced by <c>***</c>, for the record. Bytes that are not UTF-8 are shown as U+FFFD.</summary>
    public string RecordedText { get; init; } = "";

    /// <summary>
    /// The analysis that this one differs from in its texts only (<see cref="Lexing.LiteralShape"/>); itself where there is none. Facts and statements are the
    /// same instances: what follows from them can be kept by this.
    /// </summary>
    public SqlAnalysis Shape => shape ?? this;

    private SqlAnalysis? shape;

    /// <summary>The same for another text of the same shape, without secrets.</summary>
    internal SqlAnalysis WithText(string text, string trimmed) => new()
    {
        Facts = Facts,
        Statements = Statements,
        TrimmedText = trimmed,
        RecordedText = text,
        shape = Shape,
    };

    /// <summary>The same as definition of a prepared statement or cursor, with the text that made it.</summary>
    internal SqlAnalysis WithOwnText(string text) => new() { Facts = Facts, Statements = Statements, TrimmedText = text, RecordedText = RecordedText };

    /// <summary>True where no statement is in it: the server answers EmptyQueryResponse.</summary>
    public bool IsEmpty => Facts.Complete && Facts.Statements.Count == 0;
}

/// <summary>How what a statement sends back looks.</summary>
public enum ResultShape
{
    /// <summary>Nothing but a command tag.</summary>
    None,
    /// <summary>Rows made by <see cref="SqlStatement.Result"/>.</summary>
    Rows,
    /// <summary>COPY data made by <see cref="SqlStatement.Copy"/>.</summary>
    CopyOut,
    /// <summary>A plan: row counts, costs and own literals; never column values as such.</summary>
    Plan,
    /// <summary>A setting (SHOW).</summary>
    Setting,
    /// <summary>Rows whose origin no text shows (EXECUTE, FETCH without their definition, CALL).</summary>
    Unknown,
}

/// <summary>The model of one top-level statement.</summary>
public sealed class SqlStatement
{
    /// <summary>Its facts.</summary>
    public required StatementFacts Facts { get; init; }

    /// <summary>What it sends back.</summary>
    public ResultShape Shape { get; internal set; }

    /// <summary>The block whose outputs are sent to the client; null unless <see cref="Shape"/> is <see cref="ResultShape.Rows"/>, or for COPY of a query and for plans (the explained query).</summary>
    public SqlBlock? Result { get; internal set; }

    /// <summary>Every query block of the statement, nested ones too, each once; parents before children.</summary>
    public IReadOnlyList<SqlBlock> Blocks { get; internal set; } = [];

    /// <summary>True where something that it reads can be stored or sent elsewhere: INSERT, UPDATE, MERGE, SELECT INTO, CREATE TABLE AS, CREATE VIEW and kin, COPY to a file or program, NOTIFY.</summary>
    public bool Writes { get; internal set; }

    /// <summary>True where the model is certainly not all: unknown nodes, dynamic SQL, EXECUTE and FETCH that are not resolved. Mask everything.</summary>
    public bool Opaque { get; internal set; }

    /// <summary>COPY details; null for other statements.</summary>
    public SqlCopy? Copy { get; internal set; }

    /// <summary>Settings it changes, with values where they are constant.</summary>
    public IReadOnlyList<SqlSetting> Settings { get; internal set; } = [];

    /// <summary>What it does to the session's tables of prepared statements and cursors; null for nothing.</summary>
    public SqlSessionEffect? Effect { get; internal set; }

    /// <summary>True where <see cref="StatementFacts.ReadOnly"/> holds only as long as unqualified names mean pg_catalog's: search_path has no schema before it and no temporary objects exist.</summary>
    public bool ReliesOnSearchPath { get; internal set; }

    /// <summary>EXECUTE: nothing but what it refers to can have effects.</summary>
    internal bool PureArguments { get; set; }

    /// <summary>The same with other facts.</summary>
    public SqlStatement With(StatementFacts facts) => new()
    {
        Facts = facts,
        Shape = Shape,
        Result = Result,
        Blocks = Blocks,
        Writes = Writes,
        Opaque = Opaque,
        Copy = Copy,
        Settings = Settings,
        Effect = Effect,
        ReliesOnSearchPath = ReliesOnSearchPath,
        PureArguments = PureArguments,
    };
}

/// <summary>What kind of thing a block is.</summary>
public enum SqlBlockKind
{
    /// <summary>SELECT with its own target list.</summary>
    Select,
    /// <summary>VALUES lists: outputs are the columns, each reading what any row's expression reads.</summary>
    Values,
    /// <summary>UNION, INTERSECT, EXCEPT of <see cref="SqlBlock.Arms"/>: column by position; it has no outputs of its own.</summary>
    SetOperation,
    /// <summary>INSERT; outputs are RETURNING.</summary>
    Insert,
    /// <summary>UPDATE; outputs are RETURNING.</summary>
    Update,
    /// <summary>DELETE; outputs are RETURNING.</summary>
    Delete,
    /// <summary>MERGE; outputs are RETURNING.</summary>
    Merge,
    /// <summary>An expression outside a query (DEFAULT, CHECK, a function's argument in CALL, a COPY's WHERE).</summary>
    Expression,
}

/// <summary>One query block: names in it are resolved among <see cref="Sources"/>, then those of its <see cref="Parent"/>.</summary>
public sealed class SqlBlock
{
    /// <summary>Kind.</summary>
    public required SqlBlockKind Kind { get; init; }

    /// <summary>The enclosing block, whose sources are visible too (correlated sub-selects, LATERAL); null at the top.</summary>
    /// <remarks>For CTEs and sub-selects in FROM it is set as well, although only LATERAL ones see it: a superset is what masking needs.</remarks>
    public SqlBlock? Parent { get; init; }

    /// <summary>Range table in order, the write target first.</summary>
    public IReadOnlyList<SqlSource> Sources { get; internal set; } = [];

    /// <summary>What it yields, in order: target list or RETURNING.</summary>
    public IReadOnlyList<SqlOutput> Outputs { get; internal set; } = [];

    /// <summary>What WHERE, JOIN, GROUP BY, HAVING, DISTINCT ON, ORDER BY, WINDOW, LIMIT and TABLESAMPLE read: results depend on it without showing it. (FILTER, OVER and ORDER BY within a call belong to the output that has the call.)</summary>
    public SqlReads Filters { get; } = new();

    /// <summary>What is read to be stored: SET, VALUES of MERGE, ON CONFLICT DO UPDATE, and whatever <see cref="Input"/> yields.</summary>
    public SqlReads Stored { get; } = new();

    /// <summary>Columns that the SET of an UPDATE names, in order; empty for other kinds.</summary>
    public IReadOnlyList<string> Assigned { get; internal set; } = [];

    /// <summary>Source of the rows of an INSERT; null for DEFAULT VALUES and other kinds.</summary>
    public SqlBlock? Input { get; internal set; }

    /// <summary>What a set operation combines, from left to right, flattened: also what EXCEPT takes away.</summary>
    public IReadOnlyList<SqlBlock> Arms { get; internal set; } = [];

    /// <summary>True where the set operation is not UNION ALL, or DISTINCT is given: rows are compared with one another, so every output is a filter too.</summary>
    public bool Distinct { get; internal set; }

    /// <summary>True where a NATURAL JOIN compares columns that the text doesn't name: every source's columns are filters.</summary>
    public bool NaturalJoin { get; internal set; }

    /// <summary>True where USING merges columns: a star shows such a column once.</summary>
    public bool MergesColumns { get; internal set; }

    /// <summary>True for the sub-select of EXISTS: what it yields doesn't matter.</summary>
    public bool ForExistence { get; internal set; }

    /// <summary>
    /// What is compared, calculated or sorted within an expression (operators, CASE conditions, FILTER, OVER): errors, and how often a row
    /// comes, can tell its value even where the output itself is never shown.
    /// </summary>
    public SqlReads Compared { get; } = new();

    /// <summary>Outputs that ORDER BY, GROUP BY or DISTINCT ON name by their position, from 1.</summary>
    public IReadOnlyList<int> Ordinals => ordinals ?? (IReadOnlyList<int>)[];

    private List<int>? ordinals;

    internal void AddOrdinal(int ordinal) => (ordinals ??= []).Add(ordinal);

    /// <summary>Calls of functions that may have effects, those in FROM too.</summary>
    public IReadOnlyList<SqlCall> Calls => calls ?? (IReadOnlyList<SqlCall>)[];

    /// <summary>The WITH clauses that are visible in it; only while it is built.</summary>
    internal Tree.CteScope? Scope { get; set; }

    private List<SqlCall>? calls;

    internal void Add(SqlCall call) => (calls ??= []).Add(call);

    /// <summary>Column references with an owner (<c>t.f</c>): where the owner has no such column, the server takes <c>f</c> for a function of the row.</summary>
    public IReadOnlyList<SqlColumn> Owned => owned ?? (IReadOnlyList<SqlColumn>)[];

    private List<SqlColumn>? owned;

    internal void AddOwned(SqlColumn column) => (owned ??= []).Add(column);

    /// <summary>Names selected from values (<c>(x).f</c>): fields, or functions of the value.</summary>
    public IReadOnlyList<string> Fields => fields ?? (IReadOnlyList<string>)[];

    private List<string>? fields;

    internal void AddField(string name) => (fields ??= []).Add(name);
}

/// <summary>What an entry of a range table is.</summary>
public enum SqlSourceKind
{
    /// <summary>A table, view, sequence or anything else of pg_class.</summary>
    Relation,
    /// <summary>A sub-select or VALUES in FROM.</summary>
    Subquery,
    /// <summary>A common table expression.</summary>
    Cte,
    /// <summary>A function in FROM (ROWS FROM too), XMLTABLE or JSON_TABLE.</summary>
    Function,
    /// <summary>A join with an alias of its own, which hides its members' names.</summary>
    Join,
}

/// <summary>An entry of a range table.</summary>
public sealed class SqlSource
{
    /// <summary>What it is.</summary>
    public required SqlSourceKind Kind { get; init; }

    /// <summary>Relation, CTE or (first) function name; default for the others.</summary>
    public ObjectName Name { get; init; }

    /// <summary>The name by which the block refers to it: alias, else the name; null for a sub-select without alias.</summary>
    public string? Alias { get; init; }

    /// <summary>Names given to its columns, from the first; may be fewer than there are.</summary>
    public IReadOnlyList<string> ColumnAliases { get; init; } = [];

    /// <summary>The block of a sub-select or CTE. A recursive CTE refers to the block that it is in.</summary>
    public SqlBlock? Block { get; init; }

    /// <summary>Column names that the CTE's own definition gives.</summary>
    public IReadOnlyList<string> CteColumns { get; init; } = [];

    /// <summary>Members of a join with an alias.</summary>
    public IReadOnlyList<SqlSource> Members { get; init; } = [];

    /// <summary>What a function in FROM reads by its arguments.</summary>
    public SqlReads Reads { get; init; } = SqlReads.None;

    /// <summary>True for what INSERT, UPDATE, DELETE or MERGE writes to.</summary>
    public bool IsTarget { get; init; }

    /// <summary>True for ONLY: children and partitions are left out.</summary>
    public bool Only { get; init; }
}

/// <summary>How an output is made.</summary>
public enum SqlOutputKind
{
    /// <summary>Nothing but a column (a whole row where the name is that of a source).</summary>
    Column,
    /// <summary><c>*</c> or <c>t.*</c>: as many columns as there are.</summary>
    Star,
    /// <summary>Anything else.</summary>
    Expression,
}

/// <summary>One element of a target list.</summary>
/// <param name="Kind">How it is made.</param>
/// <param name="Name">Name given with AS, the column's, or null.</param>
/// <param name="Column">The reference of a column or star; null for an expression.</param>
/// <param name="Reads">Everything its value may depend on, the column itself included.</param>
public sealed record SqlOutput(SqlOutputKind Kind, string? Name, SqlColumn? Column, SqlReads Reads);

/// <summary>A column reference as written: names in order, case-folded and dequoted. One name may be a column or a source (whole row).</summary>
/// <param name="Names">One to four names; for a star those before it.</param>
/// <param name="IsStar">True for <c>*</c> and <c>t.*</c>.</param>
public sealed record SqlColumn(IReadOnlyList<string> Names, bool IsStar)
{
    /// <summary>The last name; empty for a bare star.</summary>
    public string Name => Names.Count == 0 ? "" : Names[^1];
    /// <summary>As written.</summary>
    public override string ToString() => IsStar ? string.Join('.', [.. Names, "*"]) : string.Join('.', Names);
}

/// <summary>Columns and sub-selects that something reads.</summary>
public sealed class SqlReads
{
    /// <summary>Nothing.</summary>
    public static SqlReads None { get; } = new();

    private List<SqlColumn>? columns;
    private List<SqlBlock>? blocks;
    private List<ObjectName>? functions;
    private List<string>? fields;

    /// <summary>Names selected from values in it: see <see cref="SqlBlock.Fields"/>.</summary>
    public IReadOnlyList<string> Fields => fields ?? (IReadOnlyList<string>)[];

    internal void AddField(string name) => (fields ??= []).Add(name);

    /// <summary>Functions called in it that are not on the list of known pure functions of pg_catalog.</summary>
    public IReadOnlyList<ObjectName> Functions => functions ?? (IReadOnlyList<ObjectName>)[];

    internal void Add(ObjectName function) => (functions ??= []).Add(function);

    /// <summary>Column references.</summary>
    public IReadOnlyList<SqlColumn> Columns => columns ?? (IReadOnlyList<SqlColumn>)[];

    /// <summary>Sub-selects in it (scalar, EXISTS, IN, ARRAY): their outputs and filters count.</summary>
    public IReadOnlyList<SqlBlock> Blocks => blocks ?? (IReadOnlyList<SqlBlock>)[];

    /// <summary>True where nothing is read.</summary>
    public bool IsEmpty => columns is null && blocks is null;

    internal void Add(SqlColumn column) => (columns ??= []).Add(column);

    internal void Add(SqlBlock block) => (blocks ??= []).Add(block);
}

/// <summary>A call of a function that is not on the list of known pure functions of pg_catalog: it may have effects.</summary>
/// <param name="Name">Its name as written.</param>
/// <param name="Reads">What its arguments read; where such calls nest, what the outermost one's arguments read.</param>
public sealed record SqlCall(ObjectName Name, SqlReads Reads);

/// <summary>Details of a COPY.</summary>
/// <param name="From">True for COPY FROM.</param>
/// <param name="Relation">The relation; null where a query is copied.</param>
/// <param name="Columns">Its column list; empty for all.</param>
/// <param name="Format"><c>text</c>, <c>csv</c> or <c>binary</c>; anything else is a format that isn't known.</param>
/// <param name="Options">Options as written, lower-case names; values null where none is given.</param>
/// <param name="ToClient">True for STDIN and STDOUT, false for a file or program of the server.</param>
public sealed record SqlCopy(
    bool From, ObjectName? Relation, IReadOnlyList<string> Columns, string Format, IReadOnlyList<KeyValuePair<string, string?>> Options, bool ToClient);

/// <summary>A change of a setting.</summary>
/// <param name="Name">Lower case; <c>*</c> where it isn't constant, <c>all</c> for RESET ALL.</param>
/// <param name="Value">The value where it is constant (list items joined by <c>, </c>); null for DEFAULT, RESET and what isn't constant.</param>
/// <param name="Local">True for SET LOCAL and for set_config with a constant true.</param>
/// <param name="Reset">True for RESET and SET … TO DEFAULT.</param>
public sealed record SqlSetting(string Name, string? Value, bool Local, bool Reset);

/// <summary>What a statement does to the tables that a session keeps.</summary>
public enum SqlSessionEffectKind
{
    /// <summary>PREPARE name.</summary>
    Prepare,
    /// <summary>EXECUTE name.</summary>
    Execute,
    /// <summary>DEALLOCATE name, or all where the name is null.</summary>
    Deallocate,
    /// <summary>DECLARE name CURSOR.</summary>
    Declare,
    /// <summary>FETCH or MOVE of name.</summary>
    Fetch,
    /// <summary>CLOSE name, or all where the name is null.</summary>
    Close,
    /// <summary>DISCARD ALL: prepared statements, cursors, settings, temporary relations.</summary>
    DiscardAll,
    /// <summary>Ends a transaction (COMMIT, ROLLBACK, PREPARE TRANSACTION): cursors without HOLD end.</summary>
    EndTransaction,
    /// <summary>ROLLBACK TO a savepoint: cursors declared and settings changed since then are gone.</summary>
    RollbackToSavepoint,
}

/// <summary>One such effect.</summary>
/// <param name="Kind">Which.</param>
/// <param name="Name">Name of the prepared statement or cursor; null for all.</param>
/// <param name="Definition">PREPARE and DECLARE: the analysis of the statement inside, to be kept for <see cref="SqlSessionEffectKind.Execute"/> and <see cref="SqlSessionEffectKind.Fetch"/>.</param>
/// <param name="Hold">DECLARE … WITH HOLD.</param>
public sealed record SqlSessionEffect(SqlSessionEffectKind Kind, string? Name, SqlAnalysis? Definition = null, bool Hold = false);
