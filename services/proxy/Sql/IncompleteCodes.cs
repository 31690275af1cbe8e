namespace Countersign.Proxy.Sql;

/// <summary>Stable codes of why facts are not complete, beside those of <see cref="Lexing.PreScan"/>. Policies and records hold them: they are never renamed.</summary>
public static class IncompleteCodes
{
    /// <summary>The text does not parse.</summary>
    public const string Syntax = "syntax";
    /// <summary>The tree holds something that isn't known.</summary>
    public const string UnknownNode = "unknown-node";
    /// <summary>The tree is too large or can't be read.</summary>
    public const string Tree = "tree";
    /// <summary>More statements than are looked at.</summary>
    public const string TooManyStatements = "too-many-statements";
    /// <summary>DO: code in another language.</summary>
    public const string DoBlock = "do-block";
    /// <summary>CALL: a procedure's body is not in the text.</summary>
    public const string Call = "call";
    /// <summary>A function runs SQL, or reads a relation, that its arguments name.</summary>
    public const string DynamicSql = "dynamic-sql";
    /// <summary>EXECUTE of a statement whose definition isn't known.</summary>
    public const string Execute = "execute";
    /// <summary>FETCH or MOVE of a cursor whose definition isn't known.</summary>
    public const string Fetch = "fetch";
    /// <summary>The grammar can't parse with standard_conforming_strings off.</summary>
    public const string NonConformingStrings = "non-conforming-strings";
    /// <summary>The server is newer than the grammar: it may read the text differently.</summary>
    public const string GrammarMismatch = "grammar-mismatch";
}
