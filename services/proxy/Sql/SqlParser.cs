using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Text;
using System.Text.Json;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Sql.Analysis;
using Countersign.Proxy.Sql.Cache;
using Countersign.Proxy.Sql.Lexing;
using Countersign.Proxy.Sql.Native;
using Countersign.Proxy.Sql.Tree;

namespace Countersign.Proxy.Sql;

/// <summary>Sizes of a <see cref="SqlParser"/>.</summary>
public sealed record SqlParserOptions
{
    /// <summary>What is never given to the native parser.</summary>
    public SqlBounds Bounds { get; init; } = SqlBounds.Default;

    /// <summary>Most cached texts.</summary>
    public int CacheEntries { get; init; } = 20_000;

    /// <summary>Most memory for cached texts and what is known of them, in bytes (estimated).</summary>
    public long CacheBytes { get; init; } = 64L << 20;

    /// <summary>Threads for texts that may be deep.</summary>
    public int Threads { get; init; } = 2;

    /// <summary>Stack of each of them in bytes; committed only as far as it is used. 200,000 levels need 30 to 90 MB.</summary>
    public int StackBytes { get; init; } = 256 << 20;

    /// <summary>Texts that may wait for such a thread; further callers wait.</summary>
    public int QueueLength { get; init; } = 256;

    /// <summary>Texts up to this many bytes that are also shallow are parsed where the caller stands: handing them over would cost more than parsing them.</summary>
    public int InlineBytes { get; init; } = 8 * 1024;

    /// <summary>Most deep tokens (<see cref="SqlBounds.DeepTokens"/>) of a text that is parsed where the caller stands.</summary>
    public int InlineDeepTokens { get; init; } = 400;

    /// <summary>Deepest parentheses of a text that is parsed where the caller stands.</summary>
    public int InlineParenthesisDepth { get; init; } = 32;
}

/// <summary>Text to facts, for PostgreSQL. Safe for concurrent use; one instance a process.</summary>
/// <remarks>
/// Names are taken as the text has them; what they mean depends on search_path and the target's catalog. Analyses are cached by exact text
/// and standard_conforming_strings, or by shape where only compared whole numbers differ (<see cref="LiteralShape"/>); client_encoding must be UTF8.
/// </remarks>
public sealed class SqlParser : IDisposable
{
    /// <summary>Estimated memory of a cached analysis beside its text, per byte of text.</summary>
    private const int SizeFactor = 12;

    private readonly LibPgQuery library;
    private readonly SqlParserOptions options;
    private readonly ParserThreads threads;
    private readonly AnalysisCache conforming;
    private readonly AnalysisCache escaping;
    private readonly AnalysisCache shapes;

    /// <summary>Starts the parser's threads.</summary>
    public SqlParser(LibPgQuery library, SqlParserOptions? options = null)
    {
        this.library = library ?? throw new ArgumentNullException(nameof(library));
        this.options = options ?? new SqlParserOptions();
        threads = new ParserThreads(this.options.Threads, this.options.StackBytes, this.options.QueueLength);
        conforming = new AnalysisCache(this.options.CacheEntries, this.options.CacheBytes);
        escaping = new AnalysisCache(this.options.CacheEntries / 16, this.options.CacheBytes / 16);
        shapes = new AnalysisCache(this.options.CacheEntries / 4, this.options.CacheBytes / 4);
    }

    /// <summary>PostgreSQL's major version of the grammar.</summary>
    public int GrammarMajor => library.GrammarMajor;

    /// <summary>Library and version of the grammar, as in the facts.</summary>
    public string Grammar => library.Grammar;

    /// <summary>Entries in the cache.</summary>
    public int CachedTexts => conforming.Count + escaping.Count + shapes.Count;

    /// <summary>Estimated bytes in the cache.</summary>
    public long CachedBytes => conforming.Bytes + escaping.Bytes + shapes.Bytes;

    /// <summary>Whether the grammar is at least that of a server of this major version; facts of a mismatch must get <see cref="IncompleteCodes.GrammarMismatch"/> or the connection a warning, as policy says.</summary>
    public bool GrammarMatches(int serverMajor) => library.GrammarMatches(serverMajor);

    /// <summary>Looks a text up in the cache; allocates nothing.</summary>
    public bool TryGetCached(ReadOnlySpan<byte> utf8, [NotNullWhen(true)] out SqlAnalysis? analysis, bool standardConformingStrings = true) =>
        (standardConformingStrings ? conforming : escaping).TryGet(utf8, out analysis);

    /// <summary>Analyses a text. Completes synchronously from the cache and for short, shallow texts.</summary>
    /// <param name="utf8">The text as the client sent it, without terminator. Must stay unchanged until the task is done.</param>
    /// <param name="standardConformingStrings">The session's setting.</param>
    /// <param name="cancellation">Ends the wait; a parse that has begun goes on.</param>
    public ValueTask<SqlAnalysis> AnalyzeAsync(ReadOnlyMemory<byte> utf8, bool standardConformingStrings = true, CancellationToken cancellation = default)
    {
        var cache = standardConformingStrings ? conforming : escaping;
        if (cache.TryGet(utf8.Span, out var known))
        {
            return ValueTask.FromResult(known);
        }

        var scan = PreScan.Of(utf8.Span, standardConformingStrings, options.Bounds);
        if (scan.Rejection is null && !standardConformingStrings && !library.ParsesNonConformingStrings)
        {
            scan = scan with { Rejection = IncompleteCodes.NonConformingStrings };
        }

        if (scan.Rejection is { } code)
        {
            return ValueTask.FromResult(NotUnderstood(utf8.Span, scan, code, standardConformingStrings));
        }

        if (utf8.Length <= options.InlineBytes && scan.DeepTokens <= options.InlineDeepTokens && scan.ParenthesisDepth <= options.InlineParenthesisDepth)
        {
            return ValueTask.FromResult(
                standardConformingStrings && !scan.Secretive && utf8.Length <= LiteralShape.MaxBytes
                    ? ByShape(utf8.Span, scan)
                    : ParseAndKeep(utf8.Span, scan, standardConformingStrings, cache));
        }

        return OnThreadAsync(utf8, scan, standardConformingStrings, cache, cancellation);
    }

    /// <inheritdoc/>
    public void Dispose() => threads.Dispose();

    /// <summary>Apart, so that hits don't pay for its closure.</summary>
    private ValueTask<SqlAnalysis> OnThreadAsync(
        ReadOnlyMemory<byte> utf8, PreScan scan, bool standardConformingStrings, AnalysisCache cache, CancellationToken cancellation) =>
        threads.RunAsync(() => ParseAndKeep(utf8.Span, scan, standardConformingStrings, cache), cancellation);

    /// <summary>From another text of the same shape where there is one; else parsed, and kept for those to come.</summary>
    private SqlAnalysis ByShape(ReadOnlySpan<byte> utf8, PreScan scan)
    {
        Span<byte> buffer = stackalloc byte[LiteralShape.MaxBytes];
        var shape = buffer[..utf8.Length];
        if (!LiteralShape.TryWrite(utf8, shape))
        {
            return ParseAndKeep(utf8, scan, standardConformingStrings: true, conforming);
        }

        if (shapes.TryGet(shape, out var known))
        {
            var text = Encoding.UTF8.GetString(utf8);
            return known.WithText(text, scan.End - scan.Start == utf8.Length ? text : Encoding.UTF8.GetString(utf8[scan.Start..scan.End]));
        }

        var analysis = Parse(utf8, scan, standardConformingStrings: true);
        if (analysis.Facts.Complete && !analysis.Statements.Any(statement => statement.Effect is { Definition: not null }) && shapes.IsSeenAgain(shape))
        {
            shapes.Add(shape, analysis, 512 + ((long)utf8.Length * SizeFactor));
        }

        return analysis;
    }

    private SqlAnalysis ParseAndKeep(ReadOnlySpan<byte> utf8, PreScan scan, bool standardConformingStrings, AnalysisCache cache)
    {
        var analysis = Parse(utf8, scan, standardConformingStrings);
        if (cache.IsSeenAgain(utf8))
        {
            cache.Add(utf8, analysis, 512 + ((long)utf8.Length * SizeFactor));
        }

        return analysis;
    }

    private SqlAnalysis Parse(ReadOnlySpan<byte> utf8, PreScan scan, bool standardConformingStrings)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(utf8.Length + 1);
        try
        {
            utf8.CopyTo(buffer);
            buffer[utf8.Length] = 0;
            using var native = library.Parse(buffer.AsSpan(0, utf8.Length + 1), standardConformingStrings);
            return native.Failed
                ? NotUnderstood(utf8, scan, IncompleteCodes.Syntax, standardConformingStrings)
                : Understand(utf8, scan, native.Json, standardConformingStrings);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private SqlAnalysis Understand(ReadOnlySpan<byte> utf8, PreScan scan, ReadOnlySpan<byte> json, bool standardConformingStrings)
    {
        var incomplete = new List<string>();
        var statements = new List<SqlStatement>();
        try
        {
            using var tree = ParseTree.Read(json);
            if (tree.HasUnknownNames)
            {
                incomplete.Add(IncompleteCodes.UnknownNode);
            }

            var node = tree[tree.Child(ParseTree.Root, NodeName.stmts)].First;
            for (; node != 0; node = tree[node].Next)
            {
                if (statements.Count == options.Bounds.Statements)
                {
                    incomplete.Add(IncompleteCodes.TooManyStatements);
                    break;
                }

                var start = tree.Number(node, NodeName.stmt_location);
                var length = tree.Number(node, NodeName.stmt_len);
                // A single statement is what the first pass has found.
                var single = start == 0 && tree[node].Next == 0;
                var (first, last) = single ? (scan.Start, scan.End)
                    : SqlText.Trim(length == 0 ? utf8[start..] : utf8.Slice(start, length), standardConformingStrings);
                var builder = TreeWalker.Walk(tree, tree.Child(node, NodeName.stmt), library.Grammar);
                foreach (var code in builder.Incomplete)
                {
                    if (!incomplete.Contains(code))
                    {
                        incomplete.Add(code);
                    }
                }

                if (builder.Effect is { Definition: { } definition } effect)
                {
                    // The whole PREPARE or DECLARE: its parameter types and options decide what runs as well.
                    builder.Effect = effect with { Definition = definition.WithOwnText(Encoding.UTF8.GetString(utf8.Slice(start + first, last - first))) };
                }

                statements.Add(builder.Build(start + first, last - first));
            }
        }
        catch (JsonException)
        {
            return NotUnderstood(utf8, scan, IncompleteCodes.Tree, standardConformingStrings);
        }

        var text = Encoding.UTF8.GetString(utf8);
        var analysis = new SqlAnalysis
        {
            Facts = new OperationFacts
            {
                Protocol = "postgres",
                Grammar = library.Grammar,
                Incomplete = incomplete.Count == 0 ? [] : incomplete,
                Statements = statements.Count == 0 ? [] : [.. statements.Select(statement => statement.Facts)],
            },
            Statements = statements.Count == 0 ? [] : statements,
            TrimmedText = scan.End - scan.Start == utf8.Length ? text : Encoding.UTF8.GetString(utf8[scan.Start..scan.End]),
            RecordedText = scan.Secretive ? Secrets.Hide(utf8, standardConformingStrings, statements) : text,
        };

        // What the text itself defines is known without the session.
        return analysis.Resolve((_, _) => null);
    }

    private SqlAnalysis NotUnderstood(ReadOnlySpan<byte> utf8, PreScan scan, string code, bool standardConformingStrings) => new()
    {
        Facts = new OperationFacts { Protocol = "postgres", Grammar = library.Grammar, Incomplete = [code] },
        TrimmedText = Encoding.UTF8.GetString(utf8[scan.Start..scan.End]),
        RecordedText = Secrets.Hide(utf8, standardConformingStrings, null),
    };
}
