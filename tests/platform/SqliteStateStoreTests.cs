using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;

namespace Countersign.Platform.Tests;

[Trait("group", "unit")]
public sealed class SqliteStateStoreTests : StateStoreContract, IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly List<SqliteStateStore> _open = [];

    private string File => _directory.File("state.db");

    public void Dispose()
    {
        _open.ForEach(store => store.Dispose());
        _directory.Dispose();
    }

    protected override Task<IStateStore> OpenAsync(string name)
    {
        var store = new SqliteStateStore(_directory.File(name));
        lock (_open)
        {
            _open.Add(store);
        }

        return Task.FromResult<IStateStore>(store);
    }

    protected override Task CloseAsync(IStateStore store)
    {
        ((SqliteStateStore)store).Dispose();
        return Task.CompletedTask;
    }

    [Fact]
    public void The_file_is_its_owners_only()
    {
        using var store = new SqliteStateStore(File);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, System.IO.File.GetUnixFileMode(File));
    }

    [Fact]
    public void A_file_that_is_no_database_is_unavailable_and_stays_as_it_is()
    {
        System.IO.File.WriteAllText(File, new string('x', 5000));
        Assert.Throws<PortUnavailableException>(() => new SqliteStateStore(File));
        Assert.Equal(5000, new FileInfo(File).Length);
    }
}
