using System.Buffers.Binary;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>One column as RowDescription announces it.</summary>
/// <param name="Relation">OID of the relation named in the statement that the column comes from, 0 for anything else.</param>
/// <param name="Attribute">Its number there.</param>
/// <param name="Type">OID of its type (domains show their base).</param>
/// <param name="Format">0 text, 1 binary; 0 where it isn't known yet (Describe of a statement).</param>
public readonly record struct PostgresResultColumn(uint Relation, short Attribute, uint Type, short Format);

/// <summary>The columns of a RowDescription. Immutable: a session keeps it with its prepared statement.</summary>
public sealed class PostgresResultColumns
{
    private readonly PostgresResultColumn[] _columns;

    private PostgresResultColumns(PostgresResultColumn[] columns) => _columns = columns;

    /// <summary>The columns in order.</summary>
    public ReadOnlySpan<PostgresResultColumn> Columns => _columns;

    /// <summary>Reads the body of a RowDescription.</summary>
    /// <exception cref="InvalidDataException">It is malformed.</exception>
    public static PostgresResultColumns Parse(ReadOnlySpan<byte> body)
    {
        if (body.Length < 2)
        {
            throw new InvalidDataException("RowDescription is truncated.");
        }

        int count = BinaryPrimitives.ReadUInt16BigEndian(body);
        var columns = new PostgresResultColumn[count];
        var rest = body[2..];
        for (var index = 0; index < count; index++)
        {
            var end = rest.IndexOf((byte)0);
            if (end < 0 || rest.Length - end - 1 < 18)
            {
                throw new InvalidDataException("RowDescription is truncated.");
            }

            var field = rest[(end + 1)..];
            columns[index] = new PostgresResultColumn(
                BinaryPrimitives.ReadUInt32BigEndian(field), BinaryPrimitives.ReadInt16BigEndian(field[4..]),
                BinaryPrimitives.ReadUInt32BigEndian(field[6..]), BinaryPrimitives.ReadInt16BigEndian(field[16..]));
            rest = field[18..];
        }

        return rest.IsEmpty ? new PostgresResultColumns(columns) : throw new InvalidDataException("RowDescription is too long.");
    }
}
