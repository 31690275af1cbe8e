using System.Text;

namespace Countersign.Proxy.Sql.Tests;

/// <summary>No secret of a statement gets into the record.</summary>
public class SecretsTests
{
    [Theory]
    [InlineData("create role x password 'S3CRET'", "create role x password '***'")]
    [InlineData("CREATE USER x WITH ENCRYPTED PASSWORD E'S3CR\\x45T' VALID UNTIL '2030-01-01'", "CREATE USER x WITH ENCRYPTED PASSWORD '***' VALID UNTIL '2030-01-01'")]
    [InlineData("alter role x password $$S3CRET$$; select 'a'", "alter role x password '***'; select 'a'")]
    [InlineData("alter role x password $a$S3CRET$a$", "alter role x password '***'")]
    [InlineData("alter role x password /* c */ 'S3'\n'CRET'", "alter role x password /* c */ '***'")]
    [InlineData("alter role x password U&'S3CRE\\0054'", "alter role x password '***'")]
    [InlineData("alter user x password null", "alter user x password null")]
    [InlineData("create user mapping for r server s options (user 'bob', password 'S3CRET', other 'S3CRET')", "create user mapping for r server s options (user 'bob', password '***', other '***')")]
    [InlineData("alter user mapping for r server s options (set \"password\" 'S3CRET')", "alter user mapping for r server s options (set \"password\" '***')")]
    [InlineData("create server s foreign data wrapper f options (host 'h', \"api_key\" 'S3CRET')", "create server s foreign data wrapper f options (host 'h', \"api_key\" '***')")]
    [InlineData("create server s foreign data wrapper f options (U&\"pass\\0077ord\" 'S3CRET')", "create server s foreign data wrapper f options (U&\"pass\\0077ord\" '***')")]
    [InlineData("create subscription s connection 'host=h password=S3CRET' publication p", "create subscription s connection '***' publication p")]
    [InlineData("alter subscription s connection 'host=h password=S3CRET'", "alter subscription s connection '***'")]
    [InlineData("select dblink_connect('c', 'host=h password=S3CRET')", "select dblink_connect('***', '***')")]
    [InlineData("select * from dblink('host=h password=S3CRET', 'select 1') as t(a int)", "select * from dblink('***', '***') as t(a int)")]
    [InlineData("select 'postgres://u:S3CRET@h/d'", "select '***'")]
    [InlineData("set my.password = 'S3CRET'", "set my.password = '***'")]
    [InlineData("set my.password to S3CRET", "set my.password to '***'")]
    [InlineData("alter role x set my.api_key = 'S3CRET'", "alter role x set my.api_key = '***'")]
    [InlineData("alter system set primary_conninfo = 'host=h password=S3CRET'", "alter system set primary_conninfo = '***'")]
    [InlineData("select set_config('app.secret', 'S3CRET', false)", "select set_config('***', '***', false)")]
    [InlineData("select crypt('S3CRET', gen_salt('bf'))", "select crypt('***', gen_salt('***'))")]
    [InlineData("select pgp_sym_decrypt(a, 'S3CRET') from t where b = 'S3CRET'", "select pgp_sym_decrypt(a, '***') from t where b = '***'")]
    [InlineData("do $$begin execute 'alter role x password ''S3CRET'''; end$$", "do $$begin execute '***'; end$$")]
    [InlineData("prepare p as select crypt('S3CRET', 'x')", "prepare p as select crypt('***', '***')")]
    public void A_secret_is_replaced(string sql, string recorded)
    {
        var text = Sql.Analyze(sql).RecordedText;

        Assert.Equal(recorded, text);
        Assert.DoesNotContain("S3CR", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("creat role x password 'S3CRET' valid until 'S3CRET'")]
    [InlineData("create role x password 'S3CRET' ; selec 1")]
    [InlineData("create role x password 'S3CRET")]
    [InlineData("create role x password $$S3CRET")]
    [InlineData("create role x passwort $$S3CRET$$ -- password")]
    [InlineData("create role x password 'S3CRET' /* ")]
    public void Where_the_text_does_not_parse_but_hints_at_a_secret_all_literals_go(string sql) =>
        Assert.DoesNotContain("S3CRET", Sql.Analyze(sql).RecordedText, StringComparison.Ordinal);

    [Theory]
    [InlineData("select 'a', $$b$$ from t where c = 'd'")]
    [InlineData("select 'a' from users where name = 'password_hash'")]
    [InlineData("selec 'a' from t")]
    [InlineData("select password, token from users where token_id = '17'")]
    public void Other_texts_are_recorded_as_they_are(string sql) => Assert.Equal(sql, Sql.Analyze(sql).RecordedText);

    [Fact]
    public async Task A_text_that_is_not_utf8_is_recorded_without_its_literals()
    {
        byte[] text = [.. Encoding.UTF8.GetBytes("create role x password 'S3CRET"), 0xFF, (byte)'\''];
        var analysis = await Sql.Parser.AnalyzeAsync(text);

        Assert.Equal(["encoding"], analysis.Facts.Incomplete);
        Assert.Equal("create role x password '***'", analysis.RecordedText);
    }
}
