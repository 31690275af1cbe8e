using Countersign.Identity.Host;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.FileProviders;
using Microsoft.Extensions.Hosting;

namespace Countersign.Identity.Tests;

/// <summary>Options are checked all at once, and the development issuer stays in development.</summary>
[Trait("group", "unit")]
public sealed class OptionsTests
{
    [Fact]
    public void Everything_that_is_wrong_is_said_at_once()
    {
        var errors = Errors("Production", new()
        {
            ["Countersign:BaseUrl"] = "http://gateway.corp.example/x",
            ["Countersign:Identity:Provider:Issuer"] = "http://idp.corp.example",
            ["Countersign:Identity:Provider:GroupsClaim"] = "",
            ["Countersign:Identity:ReturnOrigins:0"] = "nonsense",
            ["Countersign:DevIssuer:Enabled"] = "true",
            ["Countersign:DevIssuer:Users:0:Name"] = "alice",
        });
        foreach (var word in new[] { "BaseUrl", "Provider:Issuer", "GroupsClaim", "ReturnOrigins", "AllowOutsideDevelopment", "Users:0" })
        {
            Assert.Contains(errors, error => error.Contains(word, StringComparison.Ordinal));
        }
    }

    [Theory]
    [InlineData("Development", null, true)]
    [InlineData("Production", null, false)]
    [InlineData("Staging", "false", false)]
    [InlineData("Production", "true", true)]
    public void The_development_issuer_starts_elsewhere_only_when_told_twice(string environment, string? allow, bool starts)
    {
        var errors = Errors(environment, new()
        {
            ["Countersign:BaseUrl"] = "http://127.0.0.1:5000",
            ["Countersign:DevIssuer:Enabled"] = "true",
            ["Countersign:DevIssuer:AllowOutsideDevelopment"] = allow,
        });
        Assert.Equal(starts, errors.Count == 0);
    }

    [Fact]
    public void A_real_provider_needs_no_development_issuer()
    {
        Assert.Empty(Errors("Production", new()
        {
            ["Countersign:BaseUrl"] = "https://gateway.corp.example",
            ["Countersign:Identity:Provider:Issuer"] = "https://idp.corp.example/realms/x",
        }));
        Assert.NotEmpty(Errors("Production", new() { ["Countersign:BaseUrl"] = "https://gateway.corp.example" }));
    }

    [Fact]
    public async Task A_wrong_configuration_does_not_start()
    {
        var error = await Assert.ThrowsAsync<Microsoft.Extensions.Options.OptionsValidationException>(() => Support.IdentityHost.StartAsync(environment: "Production"));
        Assert.Contains("AllowOutsideDevelopment", error.Message, StringComparison.Ordinal);
    }

    private static IReadOnlyList<string> Errors(string environment, Dictionary<string, string?> settings)
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(settings).Build();
        return IdentityOptions.Read(configuration).Errors(new TestEnvironment { EnvironmentName = environment });
    }

    private sealed class TestEnvironment : IHostEnvironment
    {
        public string EnvironmentName { get; set; } = "";
        public string ApplicationName { get; set; } = "";
        public string ContentRootPath { get; set; } = "";
        public IFileProvider ContentRootFileProvider { get; set; } = new NullFileProvider();
    }
}
