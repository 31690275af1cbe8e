using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres;

/// <summary>
/// What the gateway itself sends to a target in a client's session: a closed set of constant texts, recorded by name. Nothing in them comes from
/// anywhere else, and every name in them is qualified, so that a client's search_path can't change what they mean.
/// </summary>
internal sealed class GatewayStatement
{
    /// <summary>Columns of the answer to <see cref="ReadContext"/>.</summary>
    public const int ContextColumns = 13;

    /// <summary>The context that an operation digest covers, in one row of texts.</summary>
    public static GatewayStatement ReadContext { get; } = new(
        "read-context",
        """
        SELECT pg_catalog.current_setting('search_path'), current_user::pg_catalog.text, pg_catalog.current_setting('standard_conforming_strings'),
        pg_catalog.current_setting('DateStyle'), pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('transaction_isolation'),
        CASE WHEN pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on' THEN 'read only' ELSE 'read write' END,
        CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) THEN 'true' ELSE 'false' END,
        pg_catalog.current_setting('client_encoding'), pg_catalog.current_setting('session_replication_role'),
        pg_catalog.current_setting('transform_null_equals'), pg_catalog.current_setting('row_security'), pg_catalog.current_setting('IntervalStyle')
        """);

    /// <summary>The settings that decide how text is read, within a pipeline: the target reports a change only at its end.</summary>
    public static GatewayStatement ReadTextSettings { get; } = new(
        "read-text-settings",
        "SELECT pg_catalog.current_setting('client_encoding'), pg_catalog.current_setting('standard_conforming_strings')");

    /// <summary>What unqualified names mean when a session begins: a role or a database may have a search_path of its own.</summary>
    public static GatewayStatement ReadSearchPath { get; } = new("read-search-path", "SELECT pg_catalog.current_setting('search_path')");

    private GatewayStatement(string name, string text)
    {
        Name = name;
        Text = text;
    }

    /// <summary>Name in recordings.</summary>
    public string Name { get; }

    private string Text { get; }

    /// <summary>Writes it as a simple Query: between two pipelines.</summary>
    public void WriteQuery(OutputBuffer output)
    {
        output.Begin(FrontendType.Query);
        output.WriteCString(Text);
        output.End();
    }

    /// <summary>Writes it into a pipeline that is open: names of its own, so that nothing of the client's is replaced, and no Sync.</summary>
    /// <param name="output">To the target.</param>
    /// <param name="name">Name that no client can guess.</param>
    public void WritePipelined(OutputBuffer output, string name)
    {
        output.Begin(FrontendType.Parse);
        output.WriteCString(name);
        output.WriteCString(Text);
        output.WriteInt16(0);
        output.End();
        output.Begin(FrontendType.Bind);
        output.WriteCString(name);
        output.WriteCString(name);
        output.WriteInt16(0);
        output.WriteInt16(0);
        output.WriteInt16(0);
        output.End();
        output.Begin(FrontendType.Execute);
        output.WriteCString(name);
        output.WriteInt32(0);
        output.End();
        output.Begin(FrontendType.Close);
        output.WriteByte((byte)'P');
        output.WriteCString(name);
        output.End();
        output.Begin(FrontendType.Close);
        output.WriteByte((byte)'S');
        output.WriteCString(name);
        output.End();
        output.WriteEmpty(FrontendType.Flush);
    }
}
