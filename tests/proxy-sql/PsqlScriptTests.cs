using Countersign.Proxy.Sql.Lexing;

namespace Countersign.Proxy.Sql.Tests;

[Trait("group", "unit")]
public sealed class PsqlScriptTests
{
    [Theory]
    [InlineData("select 1; select 2", "select 1|select 2")]
    [InlineData("select 1;;\n-- nothing\n;select 2;", "select 1|select 2")]
    [InlineData("-- first\nselect 'a;b'; /* ; /* ; */ */ select \"c;d\";", "select 'a;b'|select \"c;d\"")]
    [InlineData("select $x$ ; $$ ; $x$; select E'\\';'; select U&'\\0041;'", "select $x$ ; $$ ; $x$|select E'\\';'|select U&'\\0041;'")]
    [InlineData("create rule r as on insert to t do (delete from a; delete from b); select 1", "create rule r as on insert to t do (delete from a; delete from b)|select 1")]
    [InlineData("create or replace function f() returns int begin atomic select 1; select case when true then 2 end; end; select 3", "create or replace function f() returns int begin atomic select 1; select case when true then 2 end; end|select 3")]
    [InlineData("begin; update t set a = 1; end; select 2", "begin|update t set a = 1|end|select 2")]
    [InlineData("select a[1:2], b::text, c[x : y]; select 1", "select a[1:2], b::text, c[x : y]|select 1")]
    [InlineData("\uFEFFselect 1", "select 1")]
    [InlineData("  \n-- only a comment\n", "")]
    public void Splits_where_psql_does(string script, string expected)
    {
        var statements = PsqlScript.Split(script, out var problem);
        Assert.Null(problem);
        Assert.Equal(expected.Length == 0 ? [] : expected.Split('|'), statements.Select(statement => SqlText.Trim(statement)));
    }

    [Theory]
    [InlineData("select 1;\n\\i other.sql", "Line 2: backslash")]
    [InlineData("copy t from stdin;\n1\n\\.\n", "Line 3: backslash")]
    [InlineData("select 1 \\g", "backslash")]
    [InlineData("delete from t where id = :id", "variable")]
    [InlineData("delete from t where id = :'id'", "variable")]
    [InlineData("select :\"c\" from t", "variable")]
    [InlineData("select :{?x}", "variable")]
    [InlineData("select a[l:h]", "variable")]
    [InlineData("select 1;\nselect 'open", "Line 2: a literal")]
    [InlineData("select 1 /* open", "a literal, name or comment")]
    [InlineData("select 1\0", "NUL")]
    public void What_only_psql_knows_is_a_problem(string script, string problem)
    {
        Assert.Empty(PsqlScript.Split(script, out var found));
        Assert.Contains(problem, found, StringComparison.Ordinal);
    }

    [Fact]
    public void A_backslash_or_colon_in_a_literal_or_comment_is_none()
    {
        Assert.Single(PsqlScript.Split("select '\\x', ':a', \":b\", $$ \\d :c $$ -- \\d :e\n /* \\d :f */", out var problem));
        Assert.Null(problem);
    }
}
