using System.Text;
using Countersign.Approval.Contracts;

namespace Countersign.Proxy.Postgres.Messages;

/// <summary>ErrorResponse and NoticeResponse: fields by their one-letter code.</summary>
internal static class ErrorFields
{
    /// <summary>The value of a field, or empty.</summary>
    /// <exception cref="MalformedMessageException">The body is not a list of fields.</exception>
    public static ReadOnlySpan<byte> Find(ReadOnlySpan<byte> body, char field)
    {
        var reader = new MessageReader(body);
        ReadOnlySpan<byte> found = default;
        while (true)
        {
            var code = reader.ReadByte();
            if (code == 0)
            {
                reader.ExpectEnd();
                return found;
            }

            var value = reader.ReadCString();
            if (code == (byte)field)
            {
                found = value;
            }
        }
    }

    /// <summary>SQLSTATE of a report.</summary>
    public static string Code(ReadOnlySpan<byte> body) => Encoding.UTF8.GetString(Find(body, 'C'));

    /// <summary>Copies a report without what identifies the server's source (F, L, R).</summary>
    public static void CopyClean(ReadOnlySpan<byte> body, byte type, OutputBuffer output)
    {
        var reader = new MessageReader(body);
        output.Begin(type);
        while (true)
        {
            var code = reader.ReadByte();
            if (code == 0)
            {
                reader.ExpectEnd();
                break;
            }

            var value = reader.ReadCString();
            if (code is (byte)'F' or (byte)'L' or (byte)'R')
            {
                continue;
            }

            output.WriteByte(code);
            output.WriteBytes(value);
            output.WriteByte(0);
        }

        output.WriteByte(0);
        output.End();
    }

    /// <summary>
    /// Writes a report of the gateway's own. Names, comments and messages of others are in it, and psql shows it on a terminal as it is: so everything
    /// invisible is made visible, as on an approver's page.
    /// </summary>
    public static void Write(OutputBuffer output, BackendType type, string severity, string code, string message, string? hint = null, string? detail = null)
    {
        output.Begin(type);
        Field(output, 'S', severity);
        Field(output, 'V', severity);
        Field(output, 'C', code);
        Field(output, 'M', VisibleText.Escape(message));
        if (!string.IsNullOrEmpty(detail))
        {
            Field(output, 'D', VisibleText.Escape(detail));
        }

        if (!string.IsNullOrEmpty(hint))
        {
            Field(output, 'H', VisibleText.Escape(hint));
        }

        output.WriteByte(0);
        output.End();
    }

    private static void Field(OutputBuffer output, char code, string value)
    {
        output.WriteByte((byte)code);
        output.WriteCString(value);
    }
}
