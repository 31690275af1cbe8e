using System.Xml.Linq;

namespace Countersign.Architecture.Tests;

/// <summary>The projects of the repository as their files declare them: what a project may know is decided there.</summary>
internal static class Repository
{
    public static string Root { get; } = FindRoot();

    public static IReadOnlyList<Project> Projects { get; } = [.. Directory
        .EnumerateFiles(Root, "*.csproj", SearchOption.AllDirectories)
        .Where(path => !IsIgnored(path))
        .Select(Read)
        .OrderBy(project => project.Folder, StringComparer.Ordinal)];

    public static IEnumerable<string> SourceFiles() => Directory
        .EnumerateFiles(Root, "*.cs", SearchOption.AllDirectories)
        .Where(path => !IsIgnored(path));

    public static string Relative(string path) => Path.GetRelativePath(Root, path).Replace('\\', '/');

    private static bool IsIgnored(string path)
    {
        var relative = Relative(path);
        return relative.StartsWith("artifacts/", StringComparison.Ordinal)
            || relative.StartsWith(".countersign/", StringComparison.Ordinal)
            || relative.Contains("/obj/", StringComparison.Ordinal)
            || relative.Contains("node_modules/", StringComparison.Ordinal);
    }

    private static Project Read(string path)
    {
        var xml = XDocument.Load(path);
        var references = xml.Descendants("ProjectReference")
            .Select(element => element.Attribute("Include")!.Value.Replace("$(Root)", "", StringComparison.Ordinal))
            .Select(include => include.StartsWith('.')
                ? Relative(Path.GetFullPath(Path.Combine(Path.GetDirectoryName(path)!, include)))
                : include)
            .Select(include => Path.GetDirectoryName(include)!.Replace('\\', '/'));
        var packages = xml.Descendants("PackageReference").Select(element => element.Attribute("Include")!.Value);
        return new Project(Relative(Path.GetDirectoryName(path)!), Path.GetFileNameWithoutExtension(path), [.. references], [.. packages]);
    }

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Countersign.slnx")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("Countersign.slnx was not found above " + AppContext.BaseDirectory);
    }
}

/// <summary>One project file.</summary>
/// <param name="Folder">Relative to the root, with slashes.</param>
/// <param name="Name">File name without extension.</param>
/// <param name="References">Folders of referenced projects.</param>
/// <param name="Packages">Names of referenced packages.</param>
internal sealed record Project(string Folder, string Name, IReadOnlyList<string> References, IReadOnlyList<string> Packages)
{
    public string? Service => Folder.StartsWith("services/", StringComparison.Ordinal) ? Folder.Split('/')[1] : null;

    public bool IsTest => Folder.StartsWith("tests/", StringComparison.Ordinal);

    public override string ToString() => Folder;
}
