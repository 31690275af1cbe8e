using Countersign.EndToEnd.Tests.Support;
using Countersign.Policy.Contracts;

namespace Countersign.EndToEnd.Tests.Guides;

/// <summary>A composition without policies: guides bring their own.</summary>
public sealed class GuideWorld : World
{
    /// <inheritdoc/>
    protected override bool HasPolicies => false;
}

/// <summary>Everything that the guides under docs/learn show is so.</summary>
[Trait("group", "approval")]
public sealed class GuideTests(GuideWorld world) : IClassFixture<GuideWorld>
{
    public static TheoryData<string> Guides => [.. Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "learn"), "*.md").Select(file => Path.GetFileName(file)!).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Guides))]
    public async Task A_guide_is_true(string name)
    {
        var folder = Directory.CreateDirectory(Path.Combine(world.Folder, Path.GetFileNameWithoutExtension(name))).FullName;
        await using (var player = new GuidePlayer(world, folder))
        {
            foreach (var block in Guide.Read(await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "learn", name), TestContext.Current.CancellationToken)))
            {
                try
                {
                    await player.PlayAsync(block);
                }
                catch (GuideException error)
                {
                    Assert.Fail($"docs/learn/{name}, block at line {block.Line}:\n{error.Message}");
                }
            }

            await player.EndAsync();
        }

        var inForce = await world.Bob.GetAsync<PolicyDocumentsInForce>("policy/v1/documents");
        if (inForce.Documents.Count > 0)
        {
            await world.ChangeAsync(new PolicyChangeRequest { RemovedDocuments = [.. inForce.Documents.Select(document => document.Name)] });
        }
    }

    [Fact]
    public void There_are_guides() => Assert.Equal(["approvals.md", "masking.md", "policies.md"], Guides.Select(row => row.Data));

    [Theory]
    [InlineData("same", "same", true)]
    [InlineData("same", "other", false)]
    [InlineData("a…c", "abc", true)]
    [InlineData("a…c", "ab", false)]
    [InlineData("a…b…c", "a1b2c", true)]
    [InlineData("a…b…c", "a12c", false)]
    [InlineData("aa…aa", "aaa", false)]
    public void Lines_fit_as_a_whole(string shown, string line, bool fits) => Assert.Equal(fits, Guide.Fits(shown, line));

    [Theory]
    [InlineData("```\nx\n```")]
    [InlineData("```text\nx\n```")]
    [InlineData("```sql file\nx\n")]
    public void A_block_that_nobody_plays_is_an_error(string text) => Assert.Throws<FormatException>(() => Guide.Read(text));

    [Fact]
    public async Task What_is_shown_in_vain_fails()
    {
        var output = new GuideOutput();
        await output.FillAsync(new StringReader("one\ntwo\nthree\n"));
        await output.ExpectAsync(["one"]);
        await Assert.ThrowsAsync<GuideException>(() => output.ExpectAsync(["three"]));
        await output.ExpectAsync(["…", "three"]);
        await Assert.ThrowsAsync<GuideException>(() => output.ExpectAsync(["four"]));
    }
}
