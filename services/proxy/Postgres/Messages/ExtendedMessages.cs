namespace Countersign.Proxy.Postgres.Messages;

/// <summary>Bodies of the extended protocol's messages: where their parts are. They hold offsets, not copies.</summary>
internal readonly record struct ParseBody(string Name, Range Text, uint[] Types)
{
    /// <exception cref="MalformedMessageException">Not a Parse.</exception>
    public static ParseBody Read(ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        var name = reader.ReadName();
        var start = reader.Position;
        var text = reader.ReadCString();
        var range = start..(start + text.Length);
        var count = reader.ReadCount(4);
        var types = count == 0 ? [] : new uint[count];
        for (var index = 0; index < count; index++)
        {
            types[index] = reader.ReadUInt32();
        }

        reader.ExpectEnd();
        return new ParseBody(name, range, types);
    }
}

/// <summary>A Bind: names, and where formats and values are.</summary>
internal readonly record struct BindBody(string Portal, string Statement, short[] Formats, BoundValue[] Values, short[] ResultFormats)
{
    /// <exception cref="MalformedMessageException">Not a Bind.</exception>
    public static BindBody Read(ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        var portal = reader.ReadName();
        var statement = reader.ReadName();
        var formats = ReadFormats(ref reader);
        var count = reader.ReadCount(4);
        if (formats.Length > 1 && formats.Length != count)
        {
            throw Malformed.Excess();
        }

        var values = count == 0 ? [] : new BoundValue[count];
        for (var index = 0; index < count; index++)
        {
            var length = reader.ReadInt32();
            if (length < -1)
            {
                throw Malformed.Length("Bind", length);
            }

            values[index] = length < 0 ? new BoundValue(0, -1) : new BoundValue(reader.Position, length);
            if (length > 0)
            {
                reader.Take(length);
            }
        }

        var resultFormats = ReadFormats(ref reader);
        reader.ExpectEnd();
        return new BindBody(portal, statement, formats, values, resultFormats);
    }

    /// <summary>Format of a parameter: 0 text, 1 binary.</summary>
    public short FormatOf(int index) => Formats.Length == 0 ? (short)0 : Formats.Length == 1 ? Formats[0] : Formats[index];

    private static short[] ReadFormats(ref MessageReader reader)
    {
        var count = reader.ReadCount(2);
        if (count == 0)
        {
            return [];
        }

        var formats = new short[count];
        for (var index = 0; index < count; index++)
        {
            var format = reader.ReadInt16();
            if (format is not (0 or 1))
            {
                throw new MalformedMessageException($"Unsupported format code {format}.");
            }

            formats[index] = format;
        }

        return formats;
    }
}

/// <summary>Where a parameter's bytes are in the body; a length of -1 is NULL.</summary>
internal readonly record struct BoundValue(int Offset, int Length);

/// <summary>Describe and Close: statement (<c>S</c>) or portal (<c>P</c>).</summary>
internal readonly record struct TargetBody(bool Portal, string Name)
{
    /// <exception cref="MalformedMessageException">Neither a statement nor a portal.</exception>
    public static TargetBody Read(ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        var portal = reader.ReadByte() switch
        {
            (byte)'P' => true,
            (byte)'S' => false,
            _ => throw Malformed.Unexpected("This kind of Describe or Close"),
        };
        var name = reader.ReadName();
        reader.ExpectEnd();
        return new TargetBody(portal, name);
    }
}

/// <summary>Execute: portal and how many rows at most, 0 for all.</summary>
internal readonly record struct ExecuteBody(string Portal, int Rows)
{
    /// <exception cref="MalformedMessageException">Not an Execute.</exception>
    public static ExecuteBody Read(ReadOnlySpan<byte> body)
    {
        var reader = new MessageReader(body);
        var portal = reader.ReadName();
        var rows = reader.ReadInt32();
        reader.ExpectEnd();
        return new ExecuteBody(portal, rows);
    }
}
