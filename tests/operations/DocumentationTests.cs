using Countersign.Approval.Host;
using Countersign.Identity.Federation;
using Countersign.Identity.Federation.DevIssuer;
using Countersign.Policy.Host;
using Countersign.Proxy.Host;
using Countersign.Proxy.Host.Recording;
using Countersign.Recorder.Host;

namespace Countersign.Operations.Tests;

/// <summary>Every option stands in the pages for those who run it.</summary>
[Trait("group", "unit")]
public sealed class DocumentationTests
{
    [Theory]
    [InlineData(typeof(ProxyOptions), "standalone.md")]
    [InlineData(typeof(SpoolSettings), "standalone.md")]
    [InlineData(typeof(PolicyOptions), "standalone.md")]
    [InlineData(typeof(ApprovalOptions), "standalone.md")]
    [InlineData(typeof(RecorderOptions), "standalone.md")]
    [InlineData(typeof(ProviderOptions), "identity.md")]
    [InlineData(typeof(DevIssuerOptions), "identity.md")]
    public void Options_are_documented(Type options, string page)
    {
        var text = Page(page);
        Assert.Empty(options.GetProperties().Select(property => property.Name).Where(name => !text.Contains($":{name}", StringComparison.Ordinal)));
    }

    internal static string Page(string name)
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "Countersign.slnx")))
        {
            folder = folder.Parent;
        }

        return File.ReadAllText(Path.Combine(folder.FullName, "docs", "operations", name));
    }
}
