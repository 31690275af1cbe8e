using System.Text;
using Countersign.Proxy.Sql.Tree;

namespace Countersign.Proxy.Sql.Tests;

/// <summary>Every node type of the grammar has a treatment: the list is the library's own (pg_query.proto of 15 and 17 together).</summary>
public class NodeTypeTests
{
    /// <summary>Types that only exist after parse analysis, or in PL/pgSQL: a text never yields them, so one that does is not understood.</summary>
    private static readonly HashSet<string> NeverRaw =
    [
        "Aggref", "AlternativeSubPlan", "ArrayCoerceExpr", "ArrayExpr", "CallContext", "CaseTestExpr", "CoerceToDomain", "CoerceToDomainValue", "CoerceViaIO",
        "CollateExpr", "ConvertRowtypeExpr", "DistinctExpr", "FieldSelect", "FieldStore", "FromExpr", "FuncExpr", "InferenceElem", "InlineCodeBlock",
        "JsonConstructorExpr", "JsonExpr", "JsonTablePath", "JsonTablePathScan", "JsonTableSiblingJoin", "MergeAction", "NextValueExpr", "NullIfExpr",
        "OnConflictExpr", "OpExpr", "PLAssignStmt", "Param", "Query", "RTEPermissionInfo", "RangeTblEntry", "RangeTblFunction", "RangeTblRef", "RelabelType",
        "RowCompareExpr", "RowMarkClause", "ScalarArrayOpExpr", "SetOperationStmt", "SortGroupClause", "SubPlan", "SubscriptingRef", "TableFunc",
        "TableSampleClause", "TargetEntry", "Var", "WindowClause", "WindowFunc", "WindowFuncRunCondition", "WithCheckOption",
    ];

    public static TheoryData<string, string, string> Samples()
    {
        var rows = new TheoryData<string, string, string>();
        foreach (var line in File.ReadLines(Sql.Corpus("sql-statements.tsv")))
        {
            var parts = line.Split('\t');
            rows.Add(parts[0], parts[1], parts[2]);
        }

        return rows;
    }

    private static IEnumerable<string> Types() => File.ReadLines(Sql.Corpus("sql-node-types.txt")).Where(line => line.Length > 0);

    [Theory]
    [MemberData(nameof(Samples))]
    public void A_statement_has_its_command_tag(string type, string tag, string sql)
    {
        var facts = Sql.Facts(sql);

        Assert.DoesNotContain(IncompleteCodes.UnknownNode, facts.Incomplete);
        Assert.True(facts.Complete || type is "DoStmt" or "CallStmt" or "ExecuteStmt" or "FetchStmt", Sql.Describe(facts));
        Assert.Equal(tag, Assert.Single(facts.Statements).Kinds[0]);
        using var tree = Sql.Library.Parse(Encoding.UTF8.GetBytes(sql + "\0"), true);
        Assert.Contains($"{{\"stmt\":{{\"{type}\":", Encoding.UTF8.GetString(tree.Json), StringComparison.Ordinal);
    }

    [Fact]
    public void Every_statement_type_of_the_grammar_has_a_sample()
    {
        var sampled = File.ReadLines(Sql.Corpus("sql-statements.tsv")).Select(line => line.Split('\t')[0]).ToHashSet();
        // Parts of other statements, in spite of their names.
        sampled.UnionWith(["RawStmt", "ReturnStmt", "ReplicaIdentityStmt"]);

        Assert.DoesNotContain(Types(), type => type.EndsWith("Stmt", StringComparison.Ordinal) && !sampled.Contains(type) && !NeverRaw.Contains(type));
    }

    [Fact]
    public void Every_node_type_is_treated_or_known_never_to_come()
    {
        var untreated = new List<string>();
        foreach (var type in Types())
        {
            Assert.True(Enum.TryParse<NodeName>(type, out var name) && NameTable.IsType(name), type);
            var known = NodeTypes.Composite.Contains(name) || NodeTypes.Leaf.Contains(name) || NodeTypes.Treated.Contains(name)
                || type.EndsWith("Stmt", StringComparison.Ordinal);
            if (known == NeverRaw.Contains(type) && !NeverRaw.Contains(type))
            {
                untreated.Add(type);
            }
        }

        Assert.Empty(untreated);
    }

    [Fact]
    public void Names_are_found_exactly()
    {
        foreach (var name in Enum.GetValues<NodeName>().Where(name => name != NodeName.Unknown))
        {
            Assert.Equal(name, NameTable.Find(Encoding.UTF8.GetBytes(name.ToString())));
        }

        Assert.Equal(NodeName.Unknown, NameTable.Find("selectstmt"u8));
        Assert.Equal(NodeName.Unknown, NameTable.Find("Unknown"u8));
        Assert.Equal(NodeName.Unknown, NameTable.Find(""u8));
    }

    [Theory]
    [InlineData("""{"version":1,"stmts":[{"stmt":{"BrandNewStmt":{}}}]}""")]
    [InlineData("""{"version":1,"stmts":[{"stmt":{"SelectStmt":{"targetList":[{"ResTarget":{"val":{"BrandNewExpr":{}}}}],"op":"SETOP_NONE"}}}]}""")]
    [InlineData("""{"version":1,"stmts":[{"stmt":{"SelectStmt":{"brandNewClause":[{"FuncCall":{}}],"op":"SETOP_NONE"}}}]}""")]
    public void A_tree_with_an_unknown_name_is_noticed(string json)
    {
        using var tree = ParseTree.Read(Encoding.UTF8.GetBytes(json));

        Assert.True(tree.HasUnknownNames);
    }

    [Theory]
    [InlineData("""{"version":1,"stmts":[{"stmt":{"PLAssignStmt":{}}}]}""")]
    [InlineData("""{"version":1,"stmts":[{"stmt":{"SelectStmt":{"targetList":[{"ResTarget":{"val":{"FuncExpr":{}}}}],"op":"SETOP_NONE"}}}]}""")]
    [InlineData("""{"version":1,"stmts":[{"stmt":{"SelectStmt":{"fromClause":[{"FuncCall":{}}],"op":"SETOP_NONE"}}}]}""")]
    public void A_node_in_a_place_where_it_is_not_expected_is_not_understood(string json)
    {
        using var tree = ParseTree.Read(Encoding.UTF8.GetBytes(json));
        var statement = tree[tree.Child(ParseTree.Root, NodeName.stmts)].First;

        Assert.Contains(IncompleteCodes.UnknownNode, TreeWalker.Walk(tree, tree.Child(statement, NodeName.stmt), "test").Incomplete);
    }
}
