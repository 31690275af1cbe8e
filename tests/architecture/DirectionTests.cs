namespace Countersign.Architecture.Tests;

/// <summary>Which project may know which: the directions of the layout.</summary>
[Trait("group", "unit")]
public sealed class DirectionTests
{
    private static readonly string[] Orleans = ["platform/Embedded", "services/approval/Actors", "hosts/standalone"];

    [Fact]
    public void Every_project_stands_in_the_solution()
    {
        var solution = File.ReadAllText(Path.Combine(Repository.Root, "Countersign.slnx"));
        Assert.Empty(Repository.Projects.Where(project => !solution.Contains($"\"{project.Folder}/{project.Name}.csproj\"", StringComparison.Ordinal)));
    }

    [Fact]
    public void Every_service_has_contracts_and_a_host()
    {
        foreach (var service in new[] { "identity", "policy", "approval", "recorder" })
        {
            Assert.Contains(Repository.Projects, project => project.Folder == $"services/{service}/Contracts");
        }

        foreach (var service in new[] { "identity", "policy", "approval", "recorder", "proxy" })
        {
            Assert.Contains(Repository.Projects, project => project.Folder == $"services/{service}/Host");
        }
    }

    [Fact]
    public void Contracts_reference_nothing_of_ours() =>
        Assert.Empty(Repository.Projects.Where(project => project.Folder.EndsWith("/Contracts", StringComparison.Ordinal) && project.References.Count > 0));

    [Fact]
    public void Across_services_only_contracts_are_referenced()
    {
        var wrong =
            from project in Repository.Projects
            where project.Service is not null
            from reference in project.References
            let parts = reference.Split('/')
            where parts[0] == "services" && parts[1] != project.Service && parts[2] != "Contracts" && !IsException(project, reference)
            select $"{project} -> {reference}";
        Assert.Empty(wrong);

        // The proxy evaluates bundles in process, verifies them itself, and writes the recording format. The recorder verifies them for how long it keeps payloads,
        // identity for who must agree to its changes.
        static bool IsException(Project project, string reference) =>
            (project.Service == "proxy" && reference is "services/policy/Engine" or "services/recorder/Format" or "services/policy/Bundles")
            || (project.Folder is "services/recorder/Host" or "services/identity/Host" && reference is "services/policy/Bundles");
    }

    [Theory]
    [InlineData("services/proxy/Path", "Contracts services/policy/Engine services/recorder/Format")]
    [InlineData("services/proxy/Sql", "Contracts")]
    [InlineData("services/proxy/Postgres", "services/proxy/Path services/proxy/Sql")]
    [InlineData("services/policy/Engine", "services/policy/Contracts services/policy/Language")]
    [InlineData("services/approval/Workflow", "")]
    [InlineData("services/approval/Notify", "Contracts platform/Ports")]
    [InlineData("services/recorder/Format", "")]
    [InlineData("services/recorder/Verify", "services/recorder/Format")]
    [InlineData("cli", "Contracts services/recorder/Format services/recorder/Verify")]
    [InlineData("platform/Ports", "")]
    public void A_project_knows_only(string folder, string allowed)
    {
        var project = Assert.Single(Repository.Projects, project => project.Folder == folder);
        var names = allowed.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Empty(project.References.Where(reference =>
            !names.Contains(reference) && !(names.Contains("Contracts") && reference.EndsWith("/Contracts", StringComparison.Ordinal))));
    }

    [Fact]
    public void The_path_references_abstractions_only()
    {
        var path = Assert.Single(Repository.Projects, project => project.Folder == "services/proxy/Path");
        Assert.Empty(path.Packages.Where(package => !package.EndsWith(".Abstractions", StringComparison.Ordinal)));
        var sockets =
            from file in Repository.SourceFiles()
            where Repository.Relative(file).StartsWith("services/proxy/Path/", StringComparison.Ordinal)
            let text = File.ReadAllText(file)
            where text.Contains("System.Net.Sockets", StringComparison.Ordinal) || text.Contains("System.Net.Http", StringComparison.Ordinal)
            select Repository.Relative(file);
        Assert.Empty(sockets);
    }

    [Fact]
    public void Only_the_actor_shell_and_the_embedded_composition_know_Orleans() =>
        Assert.Empty(Repository.Projects.Where(project =>
            !project.IsTest && project.Packages.Any(package => package.StartsWith("Microsoft.Orleans", StringComparison.Ordinal)) && !Orleans.Contains(project.Folder)));

    [Fact]
    public void Only_adapters_actors_and_composition_know_Dapr() =>
        Assert.Empty(Repository.Projects.Where(project =>
            project.Packages.Any(package => package.StartsWith("Dapr.", StringComparison.Ordinal))
            && !project.IsTest
            && project.Folder is not ("platform/Dapr" or "services/approval/Actors")));

    [Fact]
    public void Only_hosts_know_the_adapters_of_Dapr() =>
        Assert.Empty(Repository.Projects.Where(project =>
            project.References.Contains("platform/Dapr") && !project.IsTest && !project.Folder.EndsWith("/Host", StringComparison.Ordinal)));

    [Fact]
    public void Source_that_speaks_to_Dapr_stands_in_the_adapters_the_actor_shell_and_composition()
    {
        string[] places = ["platform/Dapr/", "services/approval/Actors/Dapr/", "hosts/", "tests/"];
        Assert.Empty(Repository.SourceFiles().Select(Repository.Relative).Where(file =>
            !places.Any(place => file.StartsWith(place, StringComparison.Ordinal))
            && File.ReadAllText(Path.Combine(Repository.Root, file)) is var text
            && (text.Contains("using Dapr.", StringComparison.Ordinal) || text.Contains("global::Dapr.", StringComparison.Ordinal) || text.Contains("dapr-api-token", StringComparison.Ordinal))));
    }

    [Fact]
    public void Test_projects_never_reference_one_another() =>
        Assert.Empty(
            from project in Repository.Projects
            where project.IsTest
            from reference in project.References
            where Repository.Projects.Any(other => other.Folder == reference && other.Name.EndsWith(".Tests", StringComparison.Ordinal))
            select $"{project} -> {reference}");

    [Fact]
    public void Nothing_is_called_after_having_no_name()
    {
        string[] banned = ["Common", "Shared", "Utils", "Helpers", "Core"];
        Assert.Empty(Repository.SourceFiles()
            .SelectMany(file => Repository.Relative(file).Split('/')[..^1])
            .Where(part => banned.Contains(part, StringComparer.OrdinalIgnoreCase)));
        Assert.Empty(Repository.Projects.Where(project => project.Name.Split('.').Any(part => banned.Contains(part, StringComparer.OrdinalIgnoreCase))));
    }

    [Fact]
    public void A_source_file_reads_in_one_sitting()
    {
        var tooLong =
            from file in Repository.SourceFiles()
            let lines = File.ReadAllLines(file)
            where lines.Length > 600 && !lines.Take(12).Any(line => line.Contains("600 lines", StringComparison.Ordinal))
            select $"{Repository.Relative(file)}: {lines.Length} lines, and its top doesn't say why (\"600 lines\")";
        Assert.Empty(tooLong);
    }

    [Fact]
    public void Every_test_class_is_in_a_group()
    {
        string[] groups = ["unit", "postgres", "approval", "evidence", "distributed", "ssh", "identity", "attacks", "faults", "soak", "fuzz"];
        foreach (var project in Repository.Projects.Where(project => project.Name.EndsWith(".Tests", StringComparison.Ordinal)))
        {
            var files = Repository.SourceFiles().Where(file => Repository.Relative(file).StartsWith(project.Folder + "/", StringComparison.Ordinal)).ToList();
            var whole = files.Any(file => File.ReadAllText(file).Contains("[assembly: Trait(\"group\"", StringComparison.Ordinal));
            foreach (var file in files)
            {
                var text = File.ReadAllText(file);
                var hasTests = text.Contains("[Fact", StringComparison.Ordinal) || text.Contains("[Theory", StringComparison.Ordinal);
                // The tests of an abstract class run as those of its heirs, which say in which group.
                hasTests &= !text.Contains("public abstract class", StringComparison.Ordinal) || text.Contains("public sealed class", StringComparison.Ordinal);
                var inGroup = groups.Any(group => text.Contains($"Trait(\"group\", \"{group}\")", StringComparison.Ordinal));
                Assert.True(!hasTests || whole || inGroup, $"{Repository.Relative(file)} has tests in no group: test.sh would never run them.");
            }
        }
    }
}
