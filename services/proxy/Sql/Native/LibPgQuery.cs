using System.Runtime.InteropServices;
using System.Text;

namespace Countersign.Proxy.Sql.Native;

/// <summary>The native library could not be had.</summary>
public sealed class LibPgQueryMissingException(string message) : Exception(message);

/// <summary>libpg_query: the PostgreSQL grammar as a library. Thread-safe (measured); nothing of it is ever unloaded.</summary>
/// <remarks>
/// Bound by an explicit list of names: the unversioned <c>libpg_query.so</c> of a -dev package may be of any version and is never taken. The entry
/// points are taken from the loaded handle and not by DllImport, so that a process can hold two grammars side by side (tests compare them).
/// </remarks>
public sealed unsafe class LibPgQuery
{
    /// <summary>Versions that this code knows, best first.</summary>
    private static readonly string[] Sonames = ["libpg_query.so.1706.0", "libpg_query.so.1504.0"];

    private const int DisableStandardConformingStrings = 32;

    private readonly delegate* unmanaged[Cdecl]<byte*, ParseResult> parse;
    private readonly delegate* unmanaged[Cdecl]<byte*, int, ParseResult> parseOptions;
    private readonly delegate* unmanaged[Cdecl]<ParseResult, void> free;

    private LibPgQuery(nint handle, string path)
    {
        Path = path;
        parse = (delegate* unmanaged[Cdecl]<byte*, ParseResult>)NativeLibrary.GetExport(handle, "pg_query_parse");
        free = (delegate* unmanaged[Cdecl]<ParseResult, void>)NativeLibrary.GetExport(handle, "pg_query_free_parse_result");
        if (NativeLibrary.TryGetExport(handle, "pg_query_parse_opts", out var options))
        {
            parseOptions = (delegate* unmanaged[Cdecl]<byte*, int, ParseResult>)options;
        }

        GrammarNumber = ReadGrammarNumber();
    }

    /// <summary>Where it was loaded from.</summary>
    public string Path { get; }

    /// <summary>PostgreSQL's version number of the grammar, e.g. 170004.</summary>
    public int GrammarNumber { get; }

    /// <summary>PostgreSQL's major version of the grammar, e.g. 17.</summary>
    public int GrammarMajor => GrammarNumber / 10_000;

    /// <summary>For the facts.</summary>
    public string Grammar => $"libpg_query {GrammarMajor} ({GrammarNumber})";

    /// <summary>Whether text for a server with <c>standard_conforming_strings = off</c> can be parsed right.</summary>
    public bool ParsesNonConformingStrings => parseOptions != null;

    /// <summary>Whether the grammar reads everything that a server of a major version reads. A newer server has syntax that this one fails on, and some that it reads differently.</summary>
    public bool GrammarMatches(int serverMajor) => serverMajor <= GrammarMajor;

    /// <summary>Loads the library: <c>COUNTERSIGN_LIBPG_QUERY</c>, the folder of eng/install-libpg-query.sh, the program's own, then the system's.</summary>
    /// <exception cref="LibPgQueryMissingException">None of them loads; the message lists what was tried.</exception>
    public static LibPgQuery Load() => Load(Environment.GetEnvironmentVariable("COUNTERSIGN_LIBPG_QUERY"));

    /// <summary>Loads the library from a path; null or empty to search as <see cref="Load()"/> does.</summary>
    public static LibPgQuery Load(string? path)
    {
        var tried = new List<string>();
        foreach (var candidate in Candidates(path))
        {
            tried.Add(candidate);
            if (NativeLibrary.TryLoad(candidate, out var handle))
            {
                return new LibPgQuery(handle, candidate);
            }
        }

        throw new LibPgQueryMissingException(
            $"libpg_query can't be loaded (tried {string.Join(", ", tried)}). Run eng/install-libpg-query.sh, or name the library in COUNTERSIGN_LIBPG_QUERY.");
    }

    private static IEnumerable<string> Candidates(string? path)
    {
        if (!string.IsNullOrEmpty(path))
        {
            // Whoever names a library means that one: no silent fall-back to another grammar.
            yield return path;
            yield break;
        }

        var home = Environment.GetEnvironmentVariable("HOME") is { Length: > 0 } value ? value : "/root";
        var own = Environment.GetEnvironmentVariable("COUNTERSIGN_LIB_DIR");
        // Beside the program is where publish.sh puts it.
        string[] folders = [own is { Length: > 0 } ? own : System.IO.Path.Combine(home, ".cache/countersign/lib"), "/usr/local/lib/countersign", AppContext.BaseDirectory];
        foreach (var soname in Sonames)
        {
            foreach (var folder in folders)
            {
                var file = System.IO.Path.Combine(folder, soname);
                if (File.Exists(file))
                {
                    yield return file;
                }
            }

            yield return soname;
        }
    }

    /// <summary>Parses a text. The caller has scanned it (<see cref="Lexing.PreScan"/>) and stands on a stack that is large enough for it.</summary>
    /// <param name="nulTerminated">UTF-8 text whose last byte is the only NUL.</param>
    /// <param name="standardConformingStrings">False only where <see cref="ParsesNonConformingStrings"/>.</param>
    internal NativeTree Parse(ReadOnlySpan<byte> nulTerminated, bool standardConformingStrings)
    {
        if (nulTerminated.IsEmpty || nulTerminated[^1] != 0)
        {
            throw new ArgumentException("The text must end in NUL.", nameof(nulTerminated));
        }

        fixed (byte* text = nulTerminated)
        {
            var result = standardConformingStrings ? parse(text)
                : parseOptions != null ? parseOptions(text, DisableStandardConformingStrings)
                : throw new NotSupportedException("This version of libpg_query can't parse with standard_conforming_strings off.");
            return new NativeTree(this, result);
        }
    }

    private int ReadGrammarNumber()
    {
        using var tree = Parse("select 1\0"u8, true);
        // {"version":170004,"stmts":…
        var prefix = "{\"version\":"u8;
        var json = tree.Json;
        if (!json.StartsWith(prefix) || !System.Buffers.Text.Utf8Parser.TryParse(json[prefix.Length..], out int number, out _))
        {
            throw new LibPgQueryMissingException($"{Path} doesn't answer as libpg_query does.");
        }

        return number;
    }

    /// <summary>A native result; frees it when disposed.</summary>
    internal ref struct NativeTree
    {
        private readonly LibPgQuery library;
        private ParseResult result;

        internal NativeTree(LibPgQuery library, ParseResult result)
        {
            this.library = library;
            this.result = result;
        }

        /// <summary>Whether the text did not parse. A failed parse has a tree too, an empty one.</summary>
        public readonly bool Failed => result.Error != null || result.Tree == null;

        /// <summary>The parser's message, empty where it parsed.</summary>
        public readonly string Message => result.Error == null || result.Error->Message == null
            ? ""
            : Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(result.Error->Message));

        /// <summary>The tree; valid until disposed.</summary>
        public readonly ReadOnlySpan<byte> Json => MemoryMarshal.CreateReadOnlySpanFromNullTerminated(result.Tree);

        public void Dispose()
        {
            if (result.Tree != null || result.Error != null || result.Stderr != null)
            {
                library.free(result);
                result = default;
            }
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct ParseResult
    {
        public byte* Tree;
        public byte* Stderr;
        public ParseError* Error;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct ParseError
    {
        public byte* Message;
        public byte* Function;
        public byte* File;
        public int Line;
        public int Cursor;
        public byte* Context;
    }
}
