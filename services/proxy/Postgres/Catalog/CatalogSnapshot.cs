using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Globalization;
using System.Text.Json;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Postgres.Rows;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Catalog;

/// <summary>A column of a relation.</summary>
/// <param name="Number">attnum.</param>
/// <param name="Name">Name.</param>
/// <param name="Type">Type OID.</param>
/// <param name="RemoteName">Name at the far side of a foreign table, else the name.</param>
/// <param name="IsGenerated">Whether it is computed from others; COPY of a relation leaves those out.</param>
internal readonly record struct CatalogColumn(short Number, string Name, uint Type, string RemoteName, bool IsGenerated);

/// <summary>A relation with what is needed to follow values through it.</summary>
internal sealed class CatalogRelation
{
    public required uint Oid { get; init; }
    public required string Schema { get; init; }
    public required string Name { get; init; }
    public required char Kind { get; init; }
    /// <summary>Triggers or rules of users run when it is written.</summary>
    public bool RunsCode { get; init; }
    /// <summary>Schema and name at the far side of a foreign table.</summary>
    public ObjectName? Remote { get; init; }
    public IReadOnlyList<CatalogColumn> Columns { get; init; } = [];
    /// <summary>Parsed definition of a view; null where there is none or it couldn't be parsed.</summary>
    public Lazy<SqlAnalysis?>? Definition { get; init; }
    /// <summary>Columns that a view reads anywhere in it (0: all), by pg_depend.</summary>
    public IReadOnlyList<(uint Relation, short Column)> Reads { get; init; } = [];
    /// <summary>A view that calls a function of a user.</summary>
    public bool CallsUserCode { get; init; }
    /// <summary>Generated columns: number, number of a column it reads.</summary>
    public IReadOnlyList<(short Column, short Reads)> Generated { get; init; } = [];

    public bool IsSystem => Oid < CatalogSnapshot.FirstUserObject;
    public bool IsView => Kind is 'v' or 'm';
    public override string ToString() => $"{Schema}.{Name}";
}

/// <summary>What a function by some name is.</summary>
internal enum FunctionKind
{
    /// <summary>The server's own, without effects; it reads nothing but its arguments.</summary>
    Transparent,
    /// <summary>The server's own, volatile: what it is given may be stored or sent.</summary>
    Effectful,
    /// <summary>Of a user or not known: it may read and write anything.</summary>
    Opaque,
}

/// <summary>The catalog of one database at one moment. Immutable.</summary>
public sealed class CatalogSnapshot
{
    internal const uint FirstUserObject = 16384;

    // Extensions of which every function computes on its arguments alone.
    private static readonly FrozenSet<string> PureExtensions = new[]
    {
        "btree_gin", "btree_gist", "citext", "cube", "earthdistance", "fuzzystrmatch", "hstore", "intarray", "isn", "ltree", "pg_trgm", "pgcrypto", "seg",
        "unaccent", "uuid-ossp", "vector",
    }.ToFrozenSet();

    private static long s_versions;
    private readonly FrozenDictionary<uint, CatalogRelation> _relations;
    private readonly FrozenDictionary<string, CatalogRelation[]> _byName;
    private readonly FrozenDictionary<string, FunctionKind> _functions;
    private readonly FrozenDictionary<uint, TypeForm> _types;
    private readonly FrozenSet<string> _ofRows;
    private readonly ConcurrentDictionary<string, MaskScope> _scopes = new(StringComparer.Ordinal);

    private CatalogSnapshot(
        IReadOnlyList<string> path, Dictionary<uint, CatalogRelation> relations, Dictionary<string, FunctionKind> functions, Dictionary<uint, TypeForm> types,
        IReadOnlyCollection<ObjectName> tainted, HashSet<string> ofRows)
    {
        Version = Interlocked.Increment(ref s_versions);
        ViewPath = path;
        Tainted = tainted;
        _ofRows = ofRows.ToFrozenSet(StringComparer.Ordinal);
        _relations = relations.ToFrozenDictionary();
        _byName = relations.Values.GroupBy(relation => relation.Name).ToFrozenDictionary(group => group.Key, group => group.ToArray(), StringComparer.Ordinal);
        _functions = functions.ToFrozenDictionary(StringComparer.Ordinal);
        _types = types.ToFrozenDictionary();
    }

    internal static CatalogSnapshot Empty { get; } = new([], [], [], [], [], []);

    /// <summary>Grows with every snapshot of the process.</summary>
    public long Version { get; }

    internal IReadOnlyList<string> ViewPath { get; }
    internal IReadOnlyCollection<ObjectName> Tainted { get; }
    internal IEnumerable<CatalogRelation> Relations => _relations.Values;

    /// <summary>Makes a snapshot of the rows of all <see cref="CatalogStatement"/>s.</summary>
    /// <param name="rows">Rows by statement.</param>
    /// <param name="parse">Parses a view's definition.</param>
    /// <param name="tainted">Relations that were filled from masked columns by approved operations.</param>
    /// <exception cref="FormatException">A row isn't what was asked for.</exception>
    public static CatalogSnapshot Load(
        IReadOnlyDictionary<CatalogStatement, IReadOnlyList<IReadOnlyList<string?>>> rows, Func<string, SqlAnalysis?> parse,
        IReadOnlyCollection<ObjectName>? tainted = null)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(parse);
        var path = JsonSerializer.Deserialize<string[]>(rows[CatalogStatement.SearchPath][0][0] ?? "[]") ?? [];
        var columns = rows[CatalogStatement.Columns].GroupBy(row => Oid(row[0])).ToDictionary(
            group => group.Key,
            group => group.Select(row => new CatalogColumn(Short(row[1]), row[2]!, Oid(row[3]), Option(row[4], "column_name") ?? row[2]!, !string.IsNullOrEmpty(row[5]))).ToArray());
        var reads = rows[CatalogStatement.ViewReads].ToLookup(row => Oid(row[0]), row => (Relation: Oid(row[1]), Column: Short(row[2])));
        var generated = rows[CatalogStatement.Generated].ToLookup(row => Oid(row[0]), row => (Short(row[1]), Short(row[2])));
        var relations = new Dictionary<uint, CatalogRelation>();
        foreach (var row in rows[CatalogStatement.Relations])
        {
            var oid = Oid(row[0]);
            var definition = row[6];
            relations[oid] = new CatalogRelation
            {
                Oid = oid,
                Schema = row[1]!,
                Name = row[2]!,
                Kind = row[3]![0],
                RunsCode = row[4] == "1",
                Remote = row[5] is null ? null : new ObjectName(Option(row[5], "schema_name") ?? "public", Option(row[5], "table_name") ?? Option(row[5], "table") ?? row[2]!),
                Columns = columns.GetValueOrDefault(oid, []),
                Definition = definition is null ? null : new Lazy<SqlAnalysis?>(() => parse(definition)),
                Reads = [.. reads[oid].Where(read => read.Relation != 0)],
                CallsUserCode = reads[oid].Any(read => read.Relation == 0),
                Generated = [.. generated[oid]],
            };
        }

        var snapshot = new CatalogSnapshot(path, relations, ReadFunctions(rows[CatalogStatement.Functions]), ReadTypes(rows[CatalogStatement.Types]), tainted ?? [],
            ReadOfRows(rows[CatalogStatement.Functions]));
        foreach (var row in rows[CatalogStatement.Inheritance])
        {
            snapshot.Inheritance.Add((Oid(row[0]), Oid(row[1])));
        }

        return snapshot;
    }

    internal List<(uint Child, uint Parent)> Inheritance { get; } = [];

    internal CatalogRelation? Relation(uint oid) => _relations.GetValueOrDefault(oid);

    /// <summary>
    /// Relations that a name may mean, the likeliest first: with a schema that one's; without, any temporary one (a session's own comes first, and which is
    /// its own isn't known), pg_catalog's, then those along the path; every one where the path isn't known.
    /// </summary>
    internal List<CatalogRelation> Find(ObjectName name, IReadOnlyList<string>? path)
    {
        var found = new List<CatalogRelation>();
        if (!_byName.TryGetValue(name.Name, out var all))
        {
            return found;
        }

        if (name.Schema is { } schema)
        {
            found.AddRange(all.Where(relation => relation.Schema == schema || (schema == "pg_temp" && IsTemporary(relation))));
            return found;
        }

        if (path is null)
        {
            found.AddRange(all);
            return found;
        }

        found.AddRange(all.Where(IsTemporary));
        if (!path.Contains("pg_catalog"))
        {
            found.AddRange(all.Where(relation => relation.Schema == "pg_catalog"));
        }

        foreach (var entry in path)
        {
            found.AddRange(all.Where(relation => relation.Schema == entry && !found.Contains(relation)));
        }

        return found;
    }

    /// <summary>What functions of a name are: the worst of all that it could mean.</summary>
    internal FunctionKind Function(ObjectName name)
    {
        if (name.Schema is { } schema)
        {
            return _functions.GetValueOrDefault($"{schema}.{name.Name}", FunctionKind.Opaque);
        }

        return _functions.GetValueOrDefault($".{name.Name}", FunctionKind.Opaque);
    }

    /// <summary>
    /// Whether <c>t.name</c> may call a function, where it isn't a column: there is one of that name, in whatever schema, that can be given a single value and
    /// isn't known to be without effects.
    /// </summary>
    internal bool IsOfRows(string name) =>
        _ofRows.Contains(name)
        && !(Function(new ObjectName(null, name)) == FunctionKind.Transparent
            && (PureNames.IsFunction(new ObjectName(null, name)) || PureNames.IsType(new ObjectName(null, name))));

    internal TypeForm Form(uint type) => _types.TryGetValue(type, out var form) ? form : PostgresTypes.Form(type);

    /// <summary>The masks of a policy, expanded to everything that shows masked columns. Cached.</summary>
    internal MaskScope Scope(IReadOnlyList<ColumnMask> masks)
    {
        if (masks.Count == 0)
        {
            return _scopes.GetOrAdd("", _ => new MaskScope(this, masks));
        }

        var key = string.Join('\0', masks.Select(mask => $"{mask.Schema}\u0001{mask.Relation}\u0001{mask.Column}\u0001{mask.Strategy}"));
        if (_scopes.Count > 256)
        {
            _scopes.Clear();
        }

        return _scopes.GetOrAdd(key, _ => new MaskScope(this, masks));
    }

    private static bool IsTemporary(CatalogRelation relation) => relation.Schema.StartsWith("pg_temp_", StringComparison.Ordinal);

    private static Dictionary<string, FunctionKind> ReadFunctions(IReadOnlyList<IReadOnlyList<string?>> rows)
    {
        var functions = new Dictionary<string, FunctionKind>(StringComparer.Ordinal);
        foreach (var row in rows)
        {
            var server = row[2] == "1";
            var kind = server
                ? row[3] == "1" ? FunctionKind.Effectful : FunctionKind.Transparent
                : row[4] is "c" or "internal" && row[5] is { } extension && PureExtensions.Contains(extension)
                    ? row[3] == "1" ? FunctionKind.Effectful : FunctionKind.Transparent
                    : FunctionKind.Opaque;
            foreach (var key in new[] { $"{row[0]}.{row[1]}", $".{row[1]}" })
            {
                functions[key] = functions.TryGetValue(key, out var other) && other > kind ? other : kind;
            }
        }

        return functions;
    }

    private static HashSet<string> ReadOfRows(IReadOnlyList<IReadOnlyList<string?>> rows) =>
        [.. rows.Where(row => row.Count <= 6 || row[6] == "1").Select(row => row[1]!)];

    private static Dictionary<uint, TypeForm> ReadTypes(IReadOnlyList<IReadOnlyList<string?>> rows)
    {
        var types = new Dictionary<uint, TypeForm>();
        var domains = new List<(uint Type, uint Base)>();
        foreach (var row in rows)
        {
            var type = Oid(row[0]);
            if (row[1] == "d")
            {
                domains.Add((type, Oid(row[3])));
                continue;
            }

            types[type] = (row[1], row[2], row[4]) switch
            {
                ("b", "S", "textsend" or "varcharsend" or "bpcharsend" or "namesend" or "citextsend") => TypeForm.Text,
                ("c", _, _) or (_, "A", _) => TypeForm.Structure,
                _ => TypeForm.Unknown,
            };
        }

        // A domain may be over a domain that comes later.
        for (var round = 0; round < 8; round++)
        {
            foreach (var (type, over) in domains)
            {
                types[type] = types.TryGetValue(over, out var form) ? form : PostgresTypes.Form(over);
            }
        }

        return types;
    }

    private static string? Option(string? json, string name)
    {
        if (json is null)
        {
            return null;
        }

        var prefix = name + "=";
        return (JsonSerializer.Deserialize<string[]>(json) ?? []).FirstOrDefault(option => option.StartsWith(prefix, StringComparison.Ordinal))?[prefix.Length..];
    }

    private static uint Oid(string? text) => uint.Parse(text ?? "", CultureInfo.InvariantCulture);

    private static short Short(string? text) => short.Parse(text ?? "", CultureInfo.InvariantCulture);
}
