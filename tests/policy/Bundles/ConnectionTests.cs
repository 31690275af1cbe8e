using Countersign.Policy.Connections;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Tests.Bundles;

[Trait("group", "unit")]
public sealed class ConnectionTests
{
    private static readonly SealedCredential Credential = new("s", "k", "ZW5j", "Y3Q");

    [Fact]
    public void All_that_is_wrong_is_said_at_once()
    {
        var bad = Given.Connection() with
        {
            Name = "Shop!",
            Protocol = "gopher",
            Host = "a b",
            Port = 70000,
            Database = "",
            Tls = "maybe",
            ProxyGroup = "",
            TrustedCertificates = "x",
            Labels = new Dictionary<string, string> { ["ä"] = "" },
            Credential = Credential with { Ciphertext = "%" },
        };
        Assert.Equal(
            ["credential", "database", "host", "labels", "name", "port", "protocol", "proxy-group", "tls", "trusted-certificates", "trusted-certificates"],
            ConnectionRules.Check([bad]).Select(problem => problem.Code).Order(StringComparer.Ordinal));
        Assert.Equal("duplicate-name", Assert.Single(ConnectionRules.Check([Given.Connection(), Given.Connection()])).Code);
    }

    [Theory]
    [InlineData("127.0.0.1", true)]
    [InlineData("::1", true)]
    [InlineData("localhost", true)]
    [InlineData("::ffff:127.0.0.1", true)]
    [InlineData("127.0.0.1.example.com", false)]
    [InlineData("10.0.0.1", false)]
    [InlineData("localhost.example.com", false)]
    public void Tls_is_off_for_loopback_only(string host, bool allowed) =>
        Assert.Equal(allowed, ConnectionRules.Check([Given.Connection() with { Host = host, Tls = "disable" }]).Count == 0);

    [Fact]
    public void A_replacement_keeps_its_credential_only_where_nothing_it_is_bound_to_changes()
    {
        var present = Given.Connection() with { Credential = Credential };
        var kept = ConnectionRegistry.Apply([present], [Given.Connection() with { Database = "other" }], [], out var problems);
        Assert.Empty(problems);
        Assert.Equal(Credential, Assert.Single(kept).Credential);
        var moved = ConnectionRegistry.Apply([present], [Given.Connection() with { Host = "127.0.0.2" }], [], out problems);
        Assert.Equal("credential-bound", Assert.Single(problems).Code);
        Assert.Null(Assert.Single(moved).Credential);
        ConnectionRegistry.Apply([present], [Given.Connection() with { Host = "127.0.0.2", Credential = Credential }], [], out problems);
        Assert.Empty(problems);
    }

    [Fact]
    public void A_credential_is_sealed_or_a_providers_and_a_provider_is_one_that_there_is()
    {
        Assert.Empty(ConnectionRules.Check([Given.Connection() with { CredentialFrom = CredentialProviders.SecretStore }]));
        foreach (var unknown in new[] { "", "Secret-Store", "vault", "command", "sealed" })
        {
            Assert.Equal("credential-from", Assert.Single(ConnectionRules.Check([Given.Connection() with { CredentialFrom = unknown }])).Code);
        }

        Assert.Equal("credential-from", Assert.Single(ConnectionRules.Check([Given.Connection() with { CredentialFrom = CredentialProviders.SecretStore, Credential = Credential }])).Code);
    }

    [Fact]
    public void A_replacement_that_names_a_provider_drops_the_sealed_credential_and_one_with_a_credential_the_provider()
    {
        var present = Given.Connection() with { Credential = Credential };
        var provided = Given.Connection() with { CredentialFrom = CredentialProviders.SecretStore };

        // Also where it is pointed elsewhere: there is nothing to be opened any more.
        var next = Assert.Single(ConnectionRegistry.Apply([present], [provided with { Host = "127.0.0.2" }], [], out var problems));
        Assert.Empty(problems);
        Assert.Equal((null, CredentialProviders.SecretStore), (next.Credential, next.CredentialFrom));

        next = Assert.Single(ConnectionRegistry.Apply([provided], [present], [], out problems));
        Assert.Empty(problems);
        Assert.Equal((Credential, null), (next.Credential, next.CredentialFrom));

        // One that says nothing of it keeps the provider; its secret says which address it is for.
        next = Assert.Single(ConnectionRegistry.Apply([provided], [Given.Connection() with { Host = "127.0.0.2" }], [], out problems));
        Assert.Empty(problems);
        Assert.Equal(CredentialProviders.SecretStore, next.CredentialFrom);
    }

    [Fact]
    public void Removing_what_is_not_there_is_an_error()
    {
        var left = ConnectionRegistry.Apply([Given.Connection()], [], ["shop"], out var problems);
        Assert.Empty(left);
        Assert.Empty(problems);
        ConnectionRegistry.Apply([], [], ["shop"], out problems);
        Assert.Equal("unknown-name", Assert.Single(problems).Code);
    }
}
