using Countersign.Deploy.Tests.Support;

namespace Countersign.Deploy.Tests;

/// <summary>What a release ships runs where there is neither .NET nor NuGet. Builds everything again, so it isn't in the default run.</summary>
[Trait("group", "soak")]
public sealed class PublishTests : IDisposable
{
    private readonly Folder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task One_folder_has_everything_in_250_MB()
    {
        var target = _folder["release"];
        (await Shell.RunAsync(Tree.At("publish.sh"), [target])).Good();
        var size = new DirectoryInfo(target).EnumerateFiles("*", SearchOption.AllDirectories).Where(file => file.LinkTarget is null).Sum(file => file.Length);
        Assert.InRange(size, 100_000_000, 250_000_000);
        Assert.Single(Directory.GetFiles(target, "libcoreclr.so", SearchOption.AllDirectories));
        Assert.Contains("in one command", await File.ReadAllTextAsync(Path.Combine(target, "README"), TestContext.Current.CancellationToken), StringComparison.Ordinal);

        // Away from the repository, with nothing in the environment and nothing of .NET on PATH.
        var moved = _folder["elsewhere"];
        Directory.Move(target, moved);
        var version = (await CleanAsync(moved, "./countersign --version")).Good().Output;
        Assert.StartsWith(await File.ReadAllTextAsync(Path.Combine(moved, "VERSION"), TestContext.Current.CancellationToken) is var text ? text.Trim() : "", version, StringComparison.Ordinal);
        foreach (var program in new[] { "Countersign.Standalone", "Countersign.Entrance", "Countersign.Identity.Host" })
        {
            // Without options: it runs, and lists what it misses.
            var ended = await CleanAsync(moved, $"./{program}");
            Assert.Equal(78, ended.Code);
            Assert.Contains("The configuration is wrong", ended.Output, StringComparison.Ordinal);
        }

        Assert.Equal(3, (await CleanAsync(moved, "./cluster.sh up --demo")).Code);

        // The proxy has its grammar with it: a host that starts has loaded it.
        var started = await CleanAsync(moved, """
            ./Countersign.Standalone --urls=http://127.0.0.1:0 --environment=Development --Countersign:BaseUrl=http://127.0.0.1:1 --Countersign:DevIssuer:Enabled=true \
              --Countersign:Proxy:PostgresPort=0 --Countersign:Data=./data > host.log 2>&1 &
            pid=$!
            for i in $(seq 300); do grep -q 'Application started' host.log && break; kill -0 $pid || break; sleep 0.1; done
            kill $pid; wait $pid; code=$?; cat host.log; exit $code
            """);
        Assert.Contains("Application started", started.Output, StringComparison.Ordinal);
    }

    private static Task<Ended> CleanAsync(string folder, string command) =>
        Shell.RunAsync("env", ["-i", "PATH=/usr/bin:/bin", $"HOME={folder}/home", "COUNTERSIGN_LIB_DIR=/nonexistent", "bash", "-c", command], folder);
}
