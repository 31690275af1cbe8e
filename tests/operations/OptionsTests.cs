using Countersign.Standalone;
using Microsoft.Extensions.Options;

namespace Countersign.Operations.Tests;

/// <summary>A host with wrong options doesn't start, and says everything that is wrong at once.</summary>
[Trait("group", "unit")]
[Collection("hosts")]
public sealed class OptionsTests : IDisposable
{
    private readonly Place _place = new();

    public void Dispose() => _place.Dispose();

    [Fact]
    public void Every_error_of_the_proxy_is_listed_and_nothing_is_opened()
    {
        var errors = Refused(
            "--Countersign:Proxy:Id=not a name", "--Countersign:Proxy:Group=", "--Countersign:Proxy:PostgresAddress=everywhere", "--Countersign:Proxy:PostgresPort=70000",
            "--Countersign:Proxy:PublicHost=no host", "--Countersign:Proxy:CertificatePath=/nowhere.pem", "--Countersign:Proxy:MaxSessions=0",
            "--Countersign:Proxy:StaleAfter=00:00:01", "--Countersign:Proxy:DeadAfter=00:00:00", "--Countersign:Proxy:DrainTimeout=01:00:00",
            "--Countersign:Proxy:Spool:SegmentBytes=1", "--Countersign:Proxy:Spool:MaxBytes=1", "--Countersign:Proxy:Spool:InlineWakes=-1");
        foreach (var option in new[]
        {
            "Id", "Group", "PostgresAddress", "PostgresPort", "PublicHost", "CertificatePath", "MaxSessions", "StaleAfter", "DeadAfter", "DrainTimeout",
            "Spool:SegmentBytes", "Spool:MaxBytes", "Spool:InlineWakes",
        })
        {
            Assert.Contains($"Countersign:Proxy:{option}", errors, StringComparison.Ordinal);
        }

        Assert.False(Path.Exists(Path.Combine(_place.Directory, "proxy")));
    }

    [Fact]
    public void Errors_of_all_services_are_listed_together()
    {
        var errors = Refused(
            "--Countersign:BaseUrl=nowhere", "--Countersign:Policy:BeaconSeconds=3600", "--Countersign:Approval:MaxPending=0", "--Countersign:Recorder:Origin=a b",
            "--Countersign:Proxy:Id=");
        foreach (var option in new[] { "BaseUrl", "Policy:BeaconSeconds", "Approval:MaxPending", "Recorder:Origin", "Proxy:Id" })
        {
            Assert.Contains($"Countersign:{option}", errors, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void What_can_not_be_read_is_listed_with_the_rest()
    {
        var errors = Refused(
            "--Countersign:Proxy:MaxSessions=abc", "--Countersign:Proxy:StaleAfter=soon", "--Countersign:Proxy:Spool:WriteThrough=perhaps", "--Countersign:Proxy:Id=",
            "--Countersign:Approval:MaxPending=99999999999", "--Countersign:Recorder:KeepAtLeast=x", "--Countersign:Policy:BeaconSeconds=two",
            "--Countersign:DevIssuer:DevicePollSeconds=secret-word", "--Countersign:DevIssuer:Users:0:Name=");
        foreach (var option in new[]
        {
            "Proxy:MaxSessions must be a number", "Proxy:StaleAfter must be a duration", "Proxy:Spool:WriteThrough must be true or false", "Proxy:Id must be",
            "Approval:MaxPending must be a number", "Recorder:KeepAtLeast must be a duration", "Policy:BeaconSeconds must be a number", "DevIssuer:DevicePollSeconds must be a number",
        })
        {
            Assert.Contains($"Countersign:{option}", errors, StringComparison.Ordinal);
        }

        Assert.DoesNotContain("secret-word", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Files_are_for_the_owner_only_whatever_folder_they_lie_in()
    {
        await using var app = StandaloneHost.Build(_place.Arguments());
        await app.StartAsync(TestContext.Current.CancellationToken);
        await app.StopAsync(TestContext.Current.CancellationToken);
        var files = Directory.GetFiles(_place.Directory, "*", SearchOption.AllDirectories);
        Assert.Contains(files, file => file.Contains("/recorder/", StringComparison.Ordinal));
        Assert.Empty(files.Where(file => (File.GetUnixFileMode(file) & ~(UnixFileMode.UserRead | UnixFileMode.UserWrite)) != 0));
    }

    [Fact]
    public async Task Folders_can_be_elsewhere()
    {
        var elsewhere = Path.Combine(_place.Directory, "elsewhere");
        await using var app = StandaloneHost.Build(_place.Arguments(
            $"--Countersign:Recorder:Data={elsewhere}/recorder", $"--Countersign:Proxy:Data={elsewhere}/proxy", $"--Countersign:Proxy:Spool:Directory={elsewhere}/spool"));
        await app.StartAsync(TestContext.Current.CancellationToken);
        Assert.True(Directory.Exists(Path.Combine(elsewhere, "recorder", "log")));
        Assert.True(Directory.Exists(Path.Combine(elsewhere, "proxy")));
        Assert.True(File.Exists(Path.Combine(elsewhere, "spool", "key")));
        Assert.False(Path.Exists(Path.Combine(_place.Directory, "recorder")));
        Assert.False(Path.Exists(Path.Combine(_place.Directory, "proxy")));
        await app.StopAsync(TestContext.Current.CancellationToken);
    }

    private string Refused(params string[] wrong)
    {
        var error = Assert.ThrowsAny<Exception>(() => StandaloneHost.Build(_place.Arguments(wrong)));
        var refused = error is AggregateException all ? all.Flatten().InnerExceptions : [error];
        return string.Join('\n', refused.Select(each => Assert.IsType<OptionsValidationException>(each)).SelectMany(each => each.Failures));
    }
}
