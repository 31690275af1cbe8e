namespace Countersign.Deploy.Tests.Support;

/// <summary>The repository that these tests stand in.</summary>
internal static class Tree
{
    /// <summary>Its root.</summary>
    public static string Root { get; } = Find();

    /// <summary>Absolute path of a file or folder.</summary>
    public static string At(params string[] parts) => Path.Combine([Root, .. parts]);

    /// <summary>Text of a file.</summary>
    public static string Read(params string[] parts) => File.ReadAllText(At(parts));

    /// <summary>Path relative to the root, with slashes.</summary>
    public static string Relative(string path) => Path.GetRelativePath(Root, path).Replace('\\', '/');

    /// <summary>Files of a folder, all levels, in order.</summary>
    public static IReadOnlyList<string> Files(string folder, string pattern) =>
        [.. Directory.EnumerateFiles(At(folder), pattern, SearchOption.AllDirectories).Select(Relative).Order(StringComparer.Ordinal)];

    private static string Find()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "Countersign.slnx")))
        {
            folder = folder.Parent;
        }

        return folder.FullName;
    }
}
