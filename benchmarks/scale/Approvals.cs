using System.Net.Http.Json;
using System.Security.Cryptography;
using Countersign.Approval.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Benchmarks.Scale;

/// <summary>Held operations: asked for by a proxy with a session's assertion, approved by a person, seen by the proxy, redeemed.</summary>
internal static class Approvals
{
    public static async Task RunOneAsync(ControlPlane plane, SimulatedProxy proxy, string assertion, string connection)
    {
        var approval = proxy.Create(AppIds.Approval);
        var digest = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));
        using var asked = await approval.PostAsJsonAsync(
            "v1/requests",
            new CreateRequest
            {
                Kind = RequestKind.Operation,
                Assertion = assertion,
                Connection = connection,
                Database = "postgres",
                Operations = [new RequestedOperation(digest, "update orders set status = 'cancelled' where id = 17", [])],
                AllOf = [new RequestRequirement(["dba"], 1)],
                Rules = ["simulated/change"],
                TimeoutSeconds = 600,
                GrantLifetimeSeconds = 600,
            },
            TokenJson.Options);
        asked.EnsureSuccessStatusCode();
        var request = (await asked.Content.ReadFromJsonAsync<CreateRequestResult>(TokenJson.Options))!.Request.Id;
        await plane.People[1].ApproveAsync(request);
        var seen = await approval.GetFromJsonAsync<RequestView>($"v1/requests/{request}", TokenJson.Options);
        if (seen!.State != RequestState.Approved)
        {
            throw new InvalidOperationException($"{request} is {seen.State}");
        }

        using var redeemed = await approval.PostAsJsonAsync($"v1/requests/{request}/redeem", new RedeemRequest(0, digest, Guid.NewGuid().ToString("N"), assertion), TokenJson.Options);
        redeemed.EnsureSuccessStatusCode();
    }
}
