using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Postgres.Rows;

/// <summary>How far texts that come with an operation can be trusted not to hold masked values.</summary>
internal enum TextRule
{
    /// <summary>No masks are in force: only detectors look at it.</summary>
    Open,
    /// <summary>Masks are in force, but the operation touches nothing masked: only what always quotes data goes.</summary>
    Idle,
    /// <summary>Deferred triggers may run in it (COMMIT): its errors and notices are treated as if it touched something masked.</summary>
    Deferred,
    /// <summary>It touches a masked relation: a text that may quote a value of it goes.</summary>
    Touches,
    /// <summary>It runs code that nobody can read (DO, functions, triggers): every text goes.</summary>
    Opaque,
}

/// <summary>Rewrites texts: errors, notices, settings, notifications. Code, severity and position stay.</summary>
internal static class PostgresTextScrub
{
    private const string Withheld = "The text is withheld: it may hold values of masked columns.";

    /// <summary>Rewrites an ErrorResponse or NoticeResponse. False where it passes as it is.</summary>
    public static bool ErrorOrNotice(byte type, ReadOnlySpan<byte> body, TextRule rule, DetectorSet detectors, IBufferWriter<byte> output)
    {
        var fields = Fields.Parse(body);
        var keepMessage = rule <= TextRule.Idle || (rule != TextRule.Opaque && KeepsMessage(fields, rule));
        var buffer = output.GetSpan(body.Length + 64 + Withheld.Length);
        var written = 5;
        var changed = false;
        var rest = body;
        while (rest.Length > 1)
        {
            var code = rest[0];
            var text = Text(ref rest);
            var keep = code switch
            {
                (byte)'S' or (byte)'V' or (byte)'C' or (byte)'P' => true,
                (byte)'M' => true,
                (byte)'H' => keepMessage,
                (byte)'D' => rule == TextRule.Open || (rule == TextRule.Idle && !fields.IsIntegrity),
                (byte)'W' or (byte)'q' or (byte)'p' => rule == TextRule.Open,
                (byte)'s' or (byte)'t' or (byte)'c' or (byte)'d' or (byte)'n' => rule != TextRule.Opaque,
                // q, W, p quote statements of functions; F, L, R identify the server; what is unknown is dropped.
                _ => false,
            };
            if (!keep)
            {
                changed = true;
                continue;
            }

            buffer[written++] = code;
            if (code == (byte)'M' && !keepMessage)
            {
                written += Encoding.ASCII.GetBytes(Withheld, buffer[written..]);
                changed = true;
            }
            else
            {
                text.CopyTo(buffer[written..]);
                if (code is (byte)'M' or (byte)'H' or (byte)'D' or (byte)'W' or (byte)'q')
                {
                    changed |= detectors.MaskInPlace(buffer.Slice(written, text.Length)) > 0;
                }

                written += text.Length;
            }

            buffer[written++] = 0;
        }

        buffer[written++] = 0;
        return changed && Finish(type, buffer, written, output);
    }

    /// <summary>Rewrites a ParameterStatus whose value a statement may have set from data.</summary>
    public static bool ParameterStatus(ReadOnlySpan<byte> body, TextRule rule, IBufferWriter<byte> output)
    {
        var rest = body;
        var name = CString(ref rest);
        var value = CString(ref rest);
        if (rule < TextRule.Touches || value.IsEmpty || IsEnumerated(name))
        {
            return false;
        }

        var buffer = output.GetSpan(name.Length + 16);
        name.CopyTo(buffer[5..]);
        var written = 5 + name.Length;
        buffer[written++] = 0;
        MaskedText.Redacted.CopyTo(buffer[written..]);
        written += MaskedText.Redacted.Length;
        buffer[written++] = 0;
        return Finish((byte)'S', buffer, written, output);
    }

    /// <summary>Rewrites a NotificationResponse: whole where the operation may have sent it, else by detectors, since other sessions send them too.</summary>
    public static bool Notification(ReadOnlySpan<byte> body, TextRule rule, IBufferWriter<byte> output)
    {
        if (body.Length < 4)
        {
            throw new InvalidDataException("NotificationResponse is truncated.");
        }

        var rest = body[4..];
        var channel = CString(ref rest);
        var payload = CString(ref rest);
        var buffer = output.GetSpan(body.Length + 24);
        body[..4].CopyTo(buffer[5..]);
        var written = 9;
        var changed = false;
        written += Name(rule == TextRule.Opaque, channel, buffer[written..], ref changed);
        buffer[written++] = 0;
        written += Name(rule >= TextRule.Touches, payload, buffer[written..], ref changed);
        buffer[written++] = 0;
        return changed && Finish((byte)'A', buffer, written, output);
    }

    /// <summary>Writes an ErrorResponse of the gateway's own.</summary>
    public static void WriteError(IBufferWriter<byte> output, string code, string message, string hint)
    {
        var text = Encoding.UTF8.GetBytes($"SERROR\0VERROR\0C{code}\0M{message}\0H{hint}\0\0");
        var buffer = output.GetSpan(5 + text.Length);
        text.CopyTo(buffer[5..]);
        Finish((byte)'E', buffer, 5 + text.Length, output);
    }

    /// <summary>Writes a message without a body.</summary>
    public static void WriteEmpty(IBufferWriter<byte> output, byte type) => Finish(type, output.GetSpan(5), 5, output);

    // An allow-list by SQLSTATE: casts, regclass, dates, XML, file names and settings quote values under many codes. A text with a position and
    // without context is the parser's, about the client's own statement. Integrity errors name constraints; the values are in the detail.
    private static bool KeepsMessage(in Fields fields, TextRule rule) => fields.Class switch
    {
        "23" or "25" or "40" or "53" or "55" or "57" => true,
        // Of an operation that is not known (a Parse) the parser quotes the client's own literals; a planner could quote what it computed.
        "22" => rule == TextRule.Deferred && fields.HasPosition && !fields.HasContext,
        "42" or "0A" => fields.HasPosition && !fields.HasContext,
        _ => false,
    };

    // Values that the server checks against a fixed set, and that drivers rely on.
    private static bool IsEnumerated(ReadOnlySpan<byte> name) =>
        name.SequenceEqual("client_encoding"u8) || name.SequenceEqual("standard_conforming_strings"u8) || name.SequenceEqual("DateStyle"u8)
        || name.SequenceEqual("IntervalStyle"u8) || name.SequenceEqual("is_superuser"u8) || name.SequenceEqual("integer_datetimes"u8)
        || name.SequenceEqual("in_hot_standby"u8) || name.SequenceEqual("default_transaction_read_only"u8) || name.SequenceEqual("server_version"u8)
        || name.SequenceEqual("server_encoding"u8) || name.SequenceEqual("session_authorization"u8);

    private static int Name(bool whole, ReadOnlySpan<byte> text, Span<byte> output, ref bool changed)
    {
        if (whole && !text.IsEmpty)
        {
            changed = true;
            MaskedText.Redacted.CopyTo(output);
            return MaskedText.Redacted.Length;
        }

        text.CopyTo(output);
        changed |= DetectorSet.All.MaskInPlace(output[..text.Length]) > 0;
        return text.Length;
    }

    private static ReadOnlySpan<byte> Text(ref ReadOnlySpan<byte> rest)
    {
        rest = rest[1..];
        return CString(ref rest);
    }

    private static ReadOnlySpan<byte> CString(ref ReadOnlySpan<byte> rest)
    {
        var end = rest.IndexOf((byte)0);
        if (end < 0)
        {
            throw new InvalidDataException("A string of the target isn't terminated.");
        }

        var text = rest[..end];
        rest = rest[(end + 1)..];
        return text;
    }

    private static bool Finish(byte type, Span<byte> buffer, int written, IBufferWriter<byte> output)
    {
        buffer[0] = type;
        BinaryPrimitives.WriteInt32BigEndian(buffer[1..], written - 1);
        output.Advance(written);
        return true;
    }

    private readonly record struct Fields(string Class, bool HasPosition, bool HasContext)
    {
        public bool IsIntegrity => Class == "23";

        public static Fields Parse(ReadOnlySpan<byte> body)
        {
            var kind = "";
            var (position, context) = (false, false);
            while (body.Length > 1)
            {
                var code = body[0];
                var text = Text(ref body);
                switch (code)
                {
                    case (byte)'C' when text.Length >= 2:
                        kind = Encoding.ASCII.GetString(text[..2]);
                        break;
                    case (byte)'P':
                        position = true;
                        break;
                    case (byte)'W' or (byte)'p' or (byte)'q':
                        context = true;
                        break;
                }
            }

            return new Fields(kind, position, context);
        }
    }
}
