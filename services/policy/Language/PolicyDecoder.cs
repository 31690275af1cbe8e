using System.Text;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language.Decode;
using Countersign.Policy.Language.Syntax;
using Countersign.Policy.Language.Yaml;

namespace Countersign.Policy.Language;

/// <summary>Text to decoded documents, strictly (docs/policies/language.md). Whether they make sense together is the checker's question.</summary>
public static class PolicyDecoder
{
    /// <summary>Most characters of all documents of a bundle together.</summary>
    public const int MaxTotalCharacters = 4 * 1024 * 1024;

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Decodes one file from bytes.</summary>
    /// <param name="utf8">UTF-8; anything else is an error.</param>
    /// <param name="file">Name for messages.</param>
    /// <exception cref="PolicyFormatException">With everything that is wrong. Nothing else is ever thrown, whatever the bytes.</exception>
    public static PolicySet Decode(ReadOnlySpan<byte> utf8, string file = "policy.yaml")
    {
        if (utf8.Length > MaxTotalCharacters)
        {
            throw new PolicyFormatException([new PolicyDiagnostic(new SourcePosition(file, 1, 1), "too-large", "The file is too large.")]);
        }

        string text;
        try
        {
            text = StrictUtf8.GetString(utf8);
        }
        catch (DecoderFallbackException)
        {
            throw new PolicyFormatException([new PolicyDiagnostic(new SourcePosition(file, 1, 1), "encoding", "The file is not UTF-8.")]);
        }

        return Decode([new BundleDocument(file, text)]);
    }

    /// <summary>Decodes documents.</summary>
    /// <exception cref="PolicyFormatException">With everything that is wrong in any of them.</exception>
    public static PolicySet Decode(IReadOnlyList<BundleDocument> documents)
    {
        var set = TryDecode(documents, out var diagnostics);
        return diagnostics.Count == 0 ? set : throw new PolicyFormatException(diagnostics);
    }

    /// <summary>Decodes documents; what could be decoded comes back even where there are errors, so that the checker can add to them.</summary>
    public static PolicySet TryDecode(IReadOnlyList<BundleDocument> documents, out IReadOnlyList<PolicyDiagnostic> diagnostics)
    {
        ArgumentNullException.ThrowIfNull(documents);
        var errors = new DiagnosticBag();
        var decoder = new DocumentDecoder(errors);
        if (documents.Sum(document => (long)document.Yaml.Length) > MaxTotalCharacters)
        {
            errors.Add(new SourcePosition(documents[0].Name, 1, 1), "too-large", $"All documents together have at most {MaxTotalCharacters} characters.");
        }
        else
        {
            foreach (var document in documents)
            {
                foreach (var node in YamlReader.Read(document.Name, document.Yaml, errors))
                {
                    decoder.Add(node);
                }
            }
        }

        diagnostics = errors.ToList();
        return decoder.Result;
    }
}
