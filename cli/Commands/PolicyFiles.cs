using System.Text;
using Countersign.Policy.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>Policy documents from files and directories.</summary>
internal static class PolicyFiles
{
    /// <summary>Largest document that is sent, in bytes.</summary>
    private const long Largest = 1024 * 1024;

    /// <summary>Reads files, and of directories every .yaml and .yml below them, in name order. A document is named after its file.</summary>
    /// <exception cref="CliException">A file is missing, too large or not UTF-8, or two have the same name.</exception>
    public static IReadOnlyList<BundleDocument> Read(IEnumerable<string> paths)
    {
        var documents = paths.SelectMany(Expand).Distinct(StringComparer.Ordinal).Select(ReadOne).ToList();
        if (documents.GroupBy(document => document.Name, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } same)
        {
            throw CliException.Usage($"Two files are called {same.Key}; a document is named after its file.");
        }

        return documents;
    }

    private static IEnumerable<string> Expand(string path)
    {
        if (!Directory.Exists(path))
        {
            return [path];
        }

        var files = Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories)
            .Where(file => Path.GetExtension(file) is ".yaml" or ".yml").Order(StringComparer.Ordinal).ToList();
        return files.Count > 0 ? files : throw CliException.Usage($"There are no .yaml files in {path}.");
    }

    private static BundleDocument ReadOne(string path)
    {
        var file = new FileInfo(path);
        if (!file.Exists)
        {
            throw CliException.Usage($"There is no file {path}.");
        }

        if (file.Length > Largest)
        {
            throw CliException.Usage($"{path} is larger than {Largest} bytes.");
        }

        try
        {
            var text = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true).GetString(File.ReadAllBytes(path));
            return new BundleDocument(file.Name, text.TrimStart('\uFEFF'));
        }
        catch (DecoderFallbackException error)
        {
            throw CliException.Usage($"{path} is not UTF-8.", inner: error);
        }
    }
}
