using System.Collections.Frozen;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>How a type takes a replaced value, and whether a detector can read it.</summary>
internal enum TypeForm
{
    /// <summary>Nothing is known: in both formats only NULL is certain to be decodable.</summary>
    Unknown,
    /// <summary>Text in both formats.</summary>
    Text,
    /// <summary>json: JSON text in both formats.</summary>
    Json,
    /// <summary>jsonb: JSON text, behind a version byte in binary.</summary>
    Jsonb,
    /// <summary>A whole number or numeric: digits in text format.</summary>
    Number,
    /// <summary>int8, which may hold a card number in binary too.</summary>
    Int8,
    /// <summary>bytea: hexadecimal text or raw bytes.</summary>
    Bytes,
    /// <summary>Arrays, composites, ranges and the like: text inside a structure; never changes in length.</summary>
    Structure,
}

/// <summary>OIDs of pg_type that never change, by what a replaced value may look like.</summary>
internal static class PostgresTypes
{
    public const uint Text = 25;

    private static readonly FrozenDictionary<uint, TypeForm> Forms = new Dictionary<uint, TypeForm>
    {
        [18] = TypeForm.Unknown,     // "char": one byte
        [19] = TypeForm.Text,        // name
        [25] = TypeForm.Text,
        [1042] = TypeForm.Text,      // bpchar
        [1043] = TypeForm.Text,      // varchar
        [705] = TypeForm.Text,       // unknown
        [2275] = TypeForm.Text,      // cstring
        [142] = TypeForm.Text,       // xml
        [114] = TypeForm.Json,
        [3802] = TypeForm.Jsonb,
        [17] = TypeForm.Bytes,
        [20] = TypeForm.Int8,
        [1700] = TypeForm.Number,
        [2249] = TypeForm.Structure, // record
        [1009] = TypeForm.Structure, // _text
        [1015] = TypeForm.Structure, // _varchar
        [1014] = TypeForm.Structure, // _bpchar
        [1003] = TypeForm.Structure, // _name
        [199] = TypeForm.Structure,  // _json
        [3807] = TypeForm.Structure, // _jsonb
        [2287] = TypeForm.Structure, // _record
        [3614] = TypeForm.Structure, // tsvector
    }.ToFrozenDictionary();

    // Fixed-size types of pg_catalog in which no detector can find anything.
    private static readonly FrozenSet<uint> Plain = new uint[]
    {
        16, 18, 21, 22, 23, 24, 26, 27, 28, 29, 30, 600, 601, 602, 603, 604, 628, 650, 700, 701, 718, 774, 790, 829, 869, 1082, 1083, 1114, 1184, 1186, 1266,
        1560, 1562, 2202, 2205, 2206, 2278, 2950, 4089, 4096, 1000, 1005, 1007, 1021, 1022, 1028, 1115, 1182, 1185, 2951,
    }.ToFrozenSet();

    public static TypeForm Form(uint type) => Forms.GetValueOrDefault(type, TypeForm.Unknown);

    /// <summary>Whether text in values of the type can be searched. Types of extensions and users may hold text, so they are.</summary>
    public static bool MayHoldText(uint type) => !Plain.Contains(type);
}
