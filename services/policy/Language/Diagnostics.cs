namespace Countersign.Policy.Language;

/// <summary>A place in a policy file.</summary>
/// <param name="File">Name of the file or document, as given by the caller.</param>
/// <param name="Line">From 1.</param>
/// <param name="Column">From 1.</param>
public readonly record struct SourcePosition(string File, int Line, int Column)
{
    /// <summary><c>file:line:column</c>.</summary>
    public override string ToString() => $"{File}:{Line}:{Column}";
}

/// <summary>One thing that is wrong in a policy file.</summary>
/// <param name="At">Where.</param>
/// <param name="Code">Stable code, e.g. <c>unknown-key</c>.</param>
/// <param name="Message">For the author.</param>
public sealed record PolicyDiagnostic(SourcePosition At, string Code, string Message)
{
    /// <summary><c>file:line:column: message [code]</c>.</summary>
    public override string ToString() => $"{At}: {Message} [{Code}]";
}

/// <summary>Policy text that can't be used, with everything that is wrong with it. The only exception that decoding throws.</summary>
public sealed class PolicyFormatException : Exception
{
    /// <summary>With all errors, in the order of files and lines.</summary>
    public PolicyFormatException(IReadOnlyList<PolicyDiagnostic> diagnostics)
        : base(string.Join('\n', diagnostics)) => Diagnostics = diagnostics;

    /// <summary>Without errors; for serialisers.</summary>
    public PolicyFormatException()
    {
    }

    /// <summary>With a message only.</summary>
    public PolicyFormatException(string message)
        : base(message)
    {
    }

    /// <summary>With a cause.</summary>
    public PolicyFormatException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Everything that is wrong.</summary>
    public IReadOnlyList<PolicyDiagnostic> Diagnostics { get; } = [];
}

/// <summary>Collects errors, so that an author sees all of them at once. Bounded: a hostile file can't make it grow.</summary>
internal sealed class DiagnosticBag
{
    internal const int MaxDiagnostics = 500;
    private readonly List<PolicyDiagnostic> _all = [];

    internal int Count => _all.Count;

    internal void Add(SourcePosition at, string code, string message)
    {
        if (_all.Count < MaxDiagnostics)
        {
            _all.Add(new PolicyDiagnostic(at, code, message));
        }
    }

    internal IReadOnlyList<PolicyDiagnostic> ToList() =>
        [.. _all.OrderBy(d => d.At.File, StringComparer.Ordinal).ThenBy(d => d.At.Line).ThenBy(d => d.At.Column).ThenBy(d => d.Code, StringComparer.Ordinal)];
}
