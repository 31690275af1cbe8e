using System.Text.Json;
using System.Text.Json.Nodes;

namespace Countersign.Approval.Tests;

/// <summary>The REST contract is frozen: a change of it is a change of <c>openapi.json</c> beside this file.</summary>
[Trait("group", "approval")]
public sealed class OpenApiTests(ServerFixture fixture) : IClassFixture<ServerFixture>
{
    [Fact]
    public async Task The_contract_is_the_frozen_one()
    {
        using var response = await fixture.Server.SendAsync(HttpMethod.Get, "/approval/openapi/v1.json", null);
        var text = JsonNode.Parse(await response.Content.ReadAsStringAsync())!.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n";
        var frozen = Path.Combine(Repository.Root, "tests/approval/openapi.json");
        if (Environment.GetEnvironmentVariable("COUNTERSIGN_FREEZE") == "1")
        {
            await File.WriteAllTextAsync(frozen, text);
        }

        Assert.Equal(await File.ReadAllTextAsync(frozen), text);
    }
}
