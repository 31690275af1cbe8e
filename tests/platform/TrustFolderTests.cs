using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Platform.Tests;

/// <summary>Keys of many instances in one folder.</summary>
[Trait("group", "unit")]
public sealed class TrustFolderTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("countersign-trust-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Keys_come_are_replaced_and_go_with_their_files()
    {
        var trust = new TrustFolder(_folder, "1");
        using var first = SigningKey.Create();
        using var second = SigningKey.Create();
        using var third = SigningKey.Create();
        Put("proxy-1", first);
        Assert.Equal([first.KeyId], await IdsAsync(trust));
        Put("proxy-2", second);
        Assert.Equal(Sorted(first, second), await IdsAsync(trust));
        Put("proxy-1", third);
        Assert.Equal(Sorted(second, third), await IdsAsync(trust));
        File.Delete(PathOf("proxy-2"));
        Assert.Equal([third.KeyId], await IdsAsync(trust));
    }

    /// <summary>While a thousand proxies start, the folder changes with each of them: reading all of it each time takes the square of their number.</summary>
    [Fact]
    public async Task A_file_that_has_not_changed_is_not_read_again()
    {
        var trust = new TrustFolder(_folder, "1");
        using var first = SigningKey.Create();
        using var second = SigningKey.Create();
        Put("proxy-1", first);
        File.SetLastWriteTimeUtc(PathOf("proxy-1"), DateTime.UtcNow.AddMinutes(-1));
        Assert.Equal([first.KeyId], await IdsAsync(trust));

        // Of the same length and time, but not what it was: whoever reads it again fails.
        var (path, at) = (PathOf("proxy-1"), File.GetLastWriteTimeUtc(PathOf("proxy-1")));
        await File.WriteAllTextAsync(path, new string('x', (int)new FileInfo(path).Length), TestContext.Current.CancellationToken);
        File.SetLastWriteTimeUtc(path, at);
        Put("proxy-2", second);
        Assert.Equal(Sorted(first, second), await IdsAsync(trust));
    }

    [Fact]
    public void A_restart_with_the_same_key_changes_nothing_in_the_folder()
    {
        using var key = SigningKey.Create();
        var enrolment = new KeyEnrolment("", new TrustFolder(_folder, "proxy-1"));
        enrolment.Publish(AppIds.Proxy, new VerificationKeys([key.PublicKey]).ToJson());
        var at = new DateTime(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc);
        Directory.SetLastWriteTimeUtc(Path.Combine(_folder, AppIds.Proxy), at);
        enrolment.Publish(AppIds.Proxy, new VerificationKeys([key.PublicKey]).ToJson());
        Assert.Equal(at, Directory.GetLastWriteTimeUtc(Path.Combine(_folder, AppIds.Proxy)));
        using var other = SigningKey.Create();
        enrolment.Publish(AppIds.Proxy, new VerificationKeys([other.PublicKey]).ToJson());
        Assert.NotEqual(at, Directory.GetLastWriteTimeUtc(Path.Combine(_folder, AppIds.Proxy)));
    }

    private static IEnumerable<string> Sorted(params SigningKey[] keys) => keys.Select(key => key.KeyId).Order(StringComparer.Ordinal);

    private static async Task<IEnumerable<string>> IdsAsync(TrustFolder trust) =>
        (await trust.GetAsync(AppIds.Proxy, TestContext.Current.CancellationToken)).Keys.Select(key => key.KeyId).Order(StringComparer.Ordinal);

    private string PathOf(string instance) => Path.Combine(_folder, AppIds.Proxy, instance + ".jwks.json");

    // As an instance puts it there: the file is replaced as a whole, which changes the folder.
    private void Put(string instance, SigningKey key)
    {
        Directory.CreateDirectory(Path.Combine(_folder, AppIds.Proxy));
        File.WriteAllText(PathOf(instance) + ".new", new VerificationKeys([key.PublicKey]).ToJson());
        File.Move(PathOf(instance) + ".new", PathOf(instance), overwrite: true);
    }
}
