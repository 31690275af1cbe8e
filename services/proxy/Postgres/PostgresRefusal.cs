using Countersign.Proxy.Path;
using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;

namespace Countersign.Proxy.Postgres;

/// <summary>
/// Refuses in the client's own protocol. The message is replaced by one that the server itself refuses: a word that can't be parsed. So the
/// transaction fails, the pipeline is skipped and everything stays in order as the server has it, and only the text of the error is the gateway's.
/// </summary>
internal static class PostgresRefusal
{
    /// <summary>SQLSTATE of a refusal.</summary>
    public static string CodeOf(RefusalReason reason) => reason switch
    {
        RefusalReason.Policy or RefusalReason.Approval => "42501",
        RefusalReason.Cancelled => "57014",
        RefusalReason.Unavailable => "58000",
        RefusalReason.InTransaction => "25P03",
        _ => "42501",
    };

    /// <summary>What the client will read.</summary>
    public static InjectedError ErrorOf(Refusal refusal) => new(CodeOf(refusal.Reason), refusal.Message, refusal.Hint);

    /// <summary>Writes the Query in place of a refused Query or FunctionCall.</summary>
    public static void WriteQuery(OutputBuffer output, ReadOnlySpan<byte> word)
    {
        output.Begin(FrontendType.Query);
        output.WriteBytes(word);
        output.WriteByte(0);
        output.End();
    }

    /// <summary>Writes the Parse in place of a refused message of the extended protocol.</summary>
    /// <param name="output">To the target.</param>
    /// <param name="word">The word.</param>
    /// <param name="unnamed">
    /// Whether it stands for a Parse of the unnamed statement, which destroys the old one also where it fails. Else it has the word as name, so that
    /// nothing of the client's is touched.
    /// </param>
    public static void WriteParse(OutputBuffer output, ReadOnlySpan<byte> word, bool unnamed)
    {
        output.Begin(FrontendType.Parse);
        if (!unnamed)
        {
            output.WriteBytes(word);
        }

        output.WriteByte(0);
        output.WriteBytes(word);
        output.WriteByte(0);
        output.WriteInt16(0);
        output.End();
    }
}
