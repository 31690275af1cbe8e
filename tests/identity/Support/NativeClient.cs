using System.Net.Http.Json;
using Countersign.Identity.Contracts;
using Countersign.Platform.Ports;

namespace Countersign.Identity.Tests.Support;

/// <summary>A login of a native client through a proxy, as identity sees it.</summary>
internal static class NativeClient
{
    /// <summary>The answer to the proof.</summary>
    public static async Task<HttpResponseMessage> LogInAsync(IdentityHost host, CreatedCredential credential, string connection)
    {
        var client = new ScramClient(credential.Secret);
        var proxy = host.ServiceToken(AppIds.Proxy);
        using var begun = await host.SendAsync(proxy, HttpMethod.Post, "/identity/v1/native-logins", new BeginNativeLogin(credential.Credential.UserName, connection, "127.0.0.1:5000"));
        await begun.MustSucceedAsync();
        var challenge = (await begun.Content.ReadFromJsonAsync<NativeLoginChallenge>(IdentityHost.Json))!;
        return await host.SendAsync(proxy, HttpMethod.Post, $"/identity/v1/native-logins/{challenge.LoginId}", new CompleteNativeLogin(
            client.First, client.ServerFirst(challenge.Nonce, challenge.Salt, challenge.Iterations), client.FinalWithoutProof(challenge.Nonce),
            client.Proof(challenge.Nonce, challenge.Salt, challenge.Iterations), "ses_1"));
    }
}
