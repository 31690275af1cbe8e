using System.Runtime.InteropServices;
using System.Text;

namespace Countersign.Proxy.Sql.Tests;

/// <summary>The real scanner, as an oracle for the lexer: tokens with byte offsets. Comments are tokens for it.</summary>
internal static unsafe class NativeScanner
{
    private const int SqlComment = 275;
    private const int CComment = 276;
    private static readonly nint Handle = NativeLibrary.Load(Sql.Library.Path);
    private static readonly delegate* unmanaged[Cdecl]<byte*, Result> ScanText = (delegate* unmanaged[Cdecl]<byte*, Result>)NativeLibrary.GetExport(Handle, "pg_query_scan");
    private static readonly delegate* unmanaged[Cdecl]<Result, void> Free = (delegate* unmanaged[Cdecl]<Result, void>)NativeLibrary.GetExport(Handle, "pg_query_free_scan_result");

    /// <summary>Token ranges without comments; null where the scanner fails.</summary>
    public static List<(int Start, int End, int Token)>? Scan(string text)
    {
        fixed (byte* bytes = Encoding.UTF8.GetBytes(text + "\0"))
        {
            var result = ScanText(bytes);
            try
            {
                return result.Error != null ? null : Decode(new ReadOnlySpan<byte>(result.Data, (int)result.Length));
            }
            finally
            {
                Free(result);
            }
        }
    }

    /// <summary>ScanResult { version = 1; repeated ScanToken tokens = 2 { start = 1; end = 2; token = 4; keyword = 5 } }, proto3.</summary>
    private static List<(int, int, int)> Decode(ReadOnlySpan<byte> message)
    {
        var tokens = new List<(int, int, int)>();
        while (!message.IsEmpty)
        {
            var tag = Varint(ref message);
            if (tag >> 3 != 2)
            {
                Varint(ref message);
                continue;
            }

            var length = (int)Varint(ref message);
            var token = message[..length];
            message = message[length..];
            int start = 0, end = 0, kind = 0;
            while (!token.IsEmpty)
            {
                var field = Varint(ref token) >> 3;
                var value = (int)Varint(ref token);
                (start, end, kind) = field switch { 1 => (value, end, kind), 2 => (start, value, kind), 4 => (start, end, value), _ => (start, end, kind) };
            }

            if (kind is not (SqlComment or CComment))
            {
                tokens.Add((start, end, kind));
            }
        }

        return tokens;
    }

    private static ulong Varint(ref ReadOnlySpan<byte> bytes)
    {
        ulong value = 0;
        for (var shift = 0; ; shift += 7)
        {
            var b = bytes[0];
            bytes = bytes[1..];
            value |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80)
            {
                return value;
            }
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Result
    {
        public nuint Length;
        public byte* Data;
        public byte* Stderr;
        public void* Error;
    }
}
