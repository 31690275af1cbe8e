using System.CommandLine;
using Countersign.Cli.Output;
using Countersign.Identity.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>credentials: list, create, revoke.</summary>
internal static class CredentialCommands
{
    public static Command Create(CommandFactory make)
    {
        var connections = new Argument<string[]>("CONNECTION") { Description = "What it is good for; '*' for all that policy allows.", Arity = ArgumentArity.OneOrMore };
        var lifetime = ConnectCommand.Lifetime();
        var id = new Argument<string>("ID") { Description = "Credential id, or its user name." };
        var group = make.New("credentials", "List your access credentials.", ListAsync);
        group.Add(make.New("list", "List your access credentials.", ListAsync));
        group.Add(make.New(
            "create", "Make an access credential; its secret is shown once.",
            invocation => CreateAsync(invocation, invocation.Get(connections), ConnectCommand.LifetimeOf(invocation.Get(lifetime))), connections, lifetime));
        group.Add(make.New("revoke", "Revoke an access credential and end its sessions.", invocation => RevokeAsync(invocation, invocation.Get(id)), id));
        return group;
    }

    private static Task<List<CredentialView>> GetAsync(Invocation invocation) =>
        invocation.Server.GetAsync<List<CredentialView>>("identity", "identity/v1/credentials", invocation.Cancellation);

    private static async Task<int> ListAsync(Invocation invocation)
    {
        var credentials = await GetAsync(invocation);
        var now = invocation.Host.Time.GetUtcNow();
        return invocation.Print(credentials, output => output.Table(
            ["id", "user name", "connections", "expires", "state"],
            credentials.Select(credential => (IReadOnlyList<string>)
            [
                credential.Id,
                credential.UserName,
                string.Join(", ", credential.Connections),
                CliOutput.Time(credential.ExpiresAt),
                credential.RevokedAt is not null ? "revoked" : credential.ExpiresAt <= now ? "expired" : "good",
            ])));
    }

    private static async Task<int> CreateAsync(Invocation invocation, string[] connections, TimeSpan lifetime)
    {
        var created = await invocation.Server.PostAsync<CreateCredential, CreatedCredential>(
            "identity", "identity/v1/credentials", new CreateCredential(connections, (int)lifetime.TotalSeconds), invocation.Cancellation);
        return invocation.Print(created, output =>
        {
            output.Fields(
                ("user name", created.Credential.UserName),
                ("password", created.Secret),
                ("connections", string.Join(", ", created.Credential.Connections)),
                ("expires", CliOutput.Time(created.Credential.ExpiresAt)),
                ("id", created.Credential.Id));
            output.Notice("The password is shown this once.");
        });
    }

    private static async Task<int> RevokeAsync(Invocation invocation, string name)
    {
        var id = name;
        if ((await GetAsync(invocation)).FirstOrDefault(credential => credential.UserName == name) is { } byUserName)
        {
            id = byUserName.Id;
        }

        await invocation.Server.DeleteAsync("identity", $"identity/v1/credentials/{Uri.EscapeDataString(id)}", invocation.Cancellation);
        return invocation.Print(new { id, revoked = true }, output => output.Line($"{name} is revoked; its sessions end within seconds."));
    }
}
