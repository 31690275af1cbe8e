using System.Text;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Postgres.Rows;
using CsCheck;

namespace Countersign.Proxy.Masking.Tests;

/// <summary>COPY in all formats: what isn't masked arrives byte for byte, however values look and wherever CopyData is cut.</summary>
[Collection("postgres")]
[Trait("group", "postgres")]
public sealed class CopyTests(PostgresServer server)
{
    private static readonly string[] Values =
        ["plain", "", "a,b", "a\tb", "line\nbreak", "cr\rlf\r\n", "quote\"d", "it's", "back\\slash", "\\N", "\\.", "NULL", "|pipe|", "ümläut", "***", " lead", "e\\", "\"", "\"\"", "tab\\t"];

    public static TheoryData<string> Formats { get; } =
    [
        "",
        "(DELIMITER ',')",
        "(DELIMITER '|', NULL 'nil')",
        "(NULL '')",
        "(HEADER)",
        "(FORMAT csv)",
        "(FORMAT csv, HEADER true)",
        "(FORMAT csv, DELIMITER ';', QUOTE '''')",
        "(FORMAT csv, ESCAPE '\\')",
        "(FORMAT csv, QUOTE '\"', ESCAPE '!', FORCE_QUOTE (s))",
        "(FORMAT csv, NULL 'NULL')",
        "(FORMAT csv, DELIMITER '*', QUOTE '~')",
        "(FORMAT binary)",
    ];

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Only_the_masked_column_changes(string options)
    {
        using var client = server.Connect("postgres");
        client.Execute("CREATE TEMP TABLE odd (id int, s text, t text, u text)");
        var id = 0;
        foreach (var (one, two) in Values.SelectMany(one => Values.Select(two => (one, two))))
        {
            client.Execute($"INSERT INTO odd VALUES ({id++}, {Literal(one)}, {Literal("MARKER" + two)}, {(id % 3 == 0 ? "NULL" : Literal(two))})");
        }

        // What the same COPY gives where the value is what it should become, by the server's own hand.
        client.Execute("CREATE TEMP TABLE expected AS SELECT id, s, '***'::text AS t, u FROM odd");
        var expected = Data(client.Execute($"COPY (SELECT * FROM expected ORDER BY id) TO STDOUT {options}"));
        var sql = $"COPY odd TO STDOUT {options}";
        var catalog = await Masked.CatalogAsync(client);
        var plan = Masked.Plan(sql, catalog, new Obligations { Masks = [new("*", "odd", "t", "redact")] });
        Assert.Null(Masked.Refusal(plan));
        var raw = client.Execute(sql);
        Assert.True(Masked.Shows(raw, "MARKER"));
        foreach (var parts in new[] { int.MaxValue, 7, 1 })
        {
            var seen = Masked.Pipe(raw, plan, copyParts: parts);
            Assert.Equal(Text(expected), Text(Data(seen)));
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task Detectors_look_into_values_not_into_their_encoding(string options)
    {
        using var client = server.Connect("postgres");
        client.Execute("CREATE TEMP TABLE odd (s text, t text)");
        client.Execute("INSERT INTO odd VALUES (E'x\\t4111111111111111\\ny', 'mail: a.b@example.com'), ('none', NULL), (E'\\\\4111 1111 1111 1111\\\\', '\"a@example.com\"')");
        client.Execute("CREATE TEMP TABLE expected (s text, t text)");
        client.Execute("INSERT INTO expected VALUES (E'x\\t****************\\ny', 'mail: *.*@*******.***'), ('none', NULL), (E'\\\\**** **** **** ****\\\\', '\"*@*******.***\"')");
        var expected = Data(client.Execute($"COPY expected TO STDOUT {options}"));
        var sql = $"COPY odd TO STDOUT {options}";
        var plan = Masked.Plan(sql, await Masked.CatalogAsync(client), new Obligations { Detectors = ["card", "email"] });
        foreach (var parts in new[] { int.MaxValue, 1 })
        {
            Assert.Equal(Text(expected), Text(Data(Masked.Pipe(client.Execute(sql), plan, copyParts: parts))));
        }
    }

    [Fact]
    public async Task A_format_that_is_not_known_does_not_pass()
    {
        using var client = server.Connect("engineer");
        var plan = Masked.Plan("COPY customers TO STDOUT (ENCODING 'LATIN1')", await Masked.CatalogAsync(client));
        Assert.Throws<InvalidDataException>(() => Masked.Pipe([new Message((byte)'H', [0, 0, 11, .. new byte[22]])], plan));
    }

    [Fact]
    public async Task Random_rows_keep_what_is_not_masked_and_never_show_what_is()
    {
        using var client = server.Connect("postgres");
        client.Execute("CREATE TEMP TABLE random (a text, secret text, b text)");
        var catalog = await Masked.CatalogAsync(client);
        var obligations = new Obligations { Masks = [new("*", "random", "secret", "redact")] };
        var any = Gen.String[Gen.Char["ab\\\"',;|\t\n\r *N.~!"], 0, 12];
        Gen.Select(any, any, any, Gen.OneOf(Gen.Const(""), Gen.Const("(FORMAT csv)"), Gen.Const("(FORMAT csv, ESCAPE '!')"), Gen.Const("(FORMAT binary)"), Gen.Const("(DELIMITER ';')")), Gen.Int[1, 9]).Sample(
            (a, secret, b, options, parts) =>
            {
                client.Execute($"TRUNCATE random; INSERT INTO random VALUES ({Literal(a)}, {Literal("MARKER" + secret + "MARKER")}, {Literal(b)})");
                var sql = $"COPY random TO STDOUT {options}";
                var seen = Data(Masked.Pipe(client.Execute(sql), Masked.Plan(sql, catalog, obligations), copyParts: parts));
                client.Execute("UPDATE random SET secret = '***'");
                Assert.Equal(Text(Data(client.Execute(sql))), Text(seen));
            }, iter: 150, threads: 1);
    }

    private static byte[] Data(IEnumerable<Message> messages) => [.. messages.Where(message => message.Type == 'd').SelectMany(message => message.Body)];

    private static string Text(byte[] data) => Encoding.Latin1.GetString(data);

    private static string Literal(string value) => "E'" + value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("'", "''", StringComparison.Ordinal)
        .Replace("\n", "\\n", StringComparison.Ordinal).Replace("\r", "\\r", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal) + "'";
}
