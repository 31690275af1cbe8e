using System.Buffers;
using System.Text;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Catalog;
using Countersign.Proxy.Postgres.Rows;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Analysis;
using Countersign.Proxy.Sql.Native;

namespace Countersign.Proxy.Masking.Tests;

/// <summary>Runs a statement at the server, plans it, and pipes what the server sent through the masker, as the session does.</summary>
internal sealed class Masked
{
    private static readonly SqlParser Parser = new(LibPgQuery.Load());

    public static readonly IReadOnlyList<ColumnMask> Masks =
    [
        new("public", "customers", "ssn", "redact"), new("public", "customers", "card", "last4"), new("public", "customers", "n", "null"),
        new("public", "customers", "doc", "redact"), new("public", "customers", "j", "redact"), new("public", "customers", "tags", "redact"),
        new("public", "customers", "feeling", "redact"), new("public", "customers", "raw", "redact"),
        new("public", "parted", "ssn", "hash"), new("public", "base", "ssn", "redact"), new("public", "domained", "ssn", "redact"),
        new("public", "uniq", "v", "redact"),
    ];

    public static Obligations Obligations { get; } = new() { Masks = Masks };

    public static Obligations With(params string[] detectors) => new() { Masks = Masks, Detectors = detectors };

    public static SqlAnalysis Analyze(string sql) => Parser.AnalyzeAsync(Encoding.UTF8.GetBytes(sql)).AsTask().GetAwaiter().GetResult();

    public static SqlAnalysis? Parse(string sql) => Analyze(sql);

    public static async Task<CatalogSnapshot> CatalogAsync(RawClient client, params ObjectName[] tainted)
    {
        var catalog = new PostgresCatalog(Parse, TimeProvider.System);
        catalog.Taint(tainted);
        return await catalog.GetAsync(client, TestContext.Current.CancellationToken);
    }

    public static MaskPlan Plan(string sql, CatalogSnapshot catalog, Obligations? obligations = null, IReadOnlyList<string>? path = null) =>
        new PostgresMaskAnalysis(Analyze(sql), catalog, path ?? ["public"]).Plan(obligations ?? Obligations);

    /// <summary>What a client would see of these messages.</summary>
    public static List<Message> Pipe(IReadOnlyList<Message> messages, MaskPlan plan, PostgresRowMasker? masker = null, int copyParts = int.MaxValue)
    {
        masker ??= PostgresRowMasker.Create((PostgresMaskPlan)plan, new PostgresMaskSession());
        var seen = new List<Message>();
        foreach (var message in messages)
        {
            var rest = message.Body.AsMemory();
            do
            {
                var part = message.Type == 'd' && rest.Length > copyParts ? rest[..copyParts] : rest;
                rest = rest[part.Length..];
                var output = new ArrayBufferWriter<byte>();
                switch (masker.Rewrite(message.Type, part.Span, output))
                {
                    case RowVerdict.Pass:
                        seen.Add(message with { Body = part.ToArray() });
                        break;
                    case RowVerdict.Rewritten:
                        seen.AddRange(Message.Split(output.WrittenSpan));
                        break;
                }
            }
            while (!rest.IsEmpty);
        }

        return seen;
    }

    public static bool Shows(IEnumerable<Message> messages, string text) =>
        messages.Any(message => Encoding.Latin1.GetString(message.Body).Contains(text, StringComparison.OrdinalIgnoreCase));

    public static string Text(IEnumerable<Message> messages) =>
        string.Join('\n', messages.Where(message => message.Type is (byte)'D' or (byte)'d' or (byte)'E' or (byte)'N' or (byte)'A' or (byte)'S')
            .Select(message => $"{(char)message.Type} {Encoding.UTF8.GetString(message.Body).Replace('\0', '·')}"));

    public static string? Refusal(MaskPlan plan) => plan.Unmaskable ?? plan.Launders ?? plan.FiltersOn;
}
