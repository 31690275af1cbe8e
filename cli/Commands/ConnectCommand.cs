using System.CommandLine;
using Countersign.Cli.Connecting;
using Countersign.Cli.Output;
using Countersign.Cli.Server;
using Countersign.Identity.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>connect: a native client with a fresh access credential.</summary>
internal static class ConnectCommand
{
    /// <summary>What identity gives at most and at least (<see cref="CreateCredential"/>).</summary>
    private static readonly TimeSpan Longest = TimeSpan.FromHours(12);
    private static readonly TimeSpan Shortest = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan RevokePatience = TimeSpan.FromSeconds(3);

    public static Command Create(CommandFactory make)
    {
        var name = new Argument<string>("NAME") { Description = "Connection, see 'countersign connections'." };
        var clientArguments = new Argument<string[]>("ARGS") { Description = "After --: arguments for psql.", Arity = ArgumentArity.ZeroOrMore };
        var database = new Option<string?>("--database", "-d") { Description = "Database at the target (default: the connection's).", HelpName = "D" };
        var lifetime = Lifetime();
        var printEnvironment = new Option<bool>("--print-env") { Description = "Run nothing: print shell exports for other clients." };
        var keep = new Option<bool>("--keep-credential") { Description = "Don't revoke the access credential when the client ends." };
        return make.New(
            "connect", "Run psql through the gateway, with a fresh access credential.",
            invocation => RunAsync(
                invocation, invocation.Get(name), invocation.Get(database), LifetimeOf(invocation.Get(lifetime)), invocation.Get(printEnvironment), invocation.Get(keep), invocation.Get(clientArguments)),
            name, clientArguments, database, lifetime, printEnvironment, keep);
    }

    public static Option<string?> Lifetime() => new("--lifetime") { Description = "How long the access credential is good, 1m to 12h (default 8h).", HelpName = "DURATION" };

    public static TimeSpan LifetimeOf(string? text)
    {
        var lifetime = Arguments.Duration(text, TimeSpan.FromHours(8));
        return lifetime >= Shortest && lifetime <= Longest ? lifetime : throw CliException.Usage("A lifetime is between 1m and 12h.");
    }

    private static async Task<int> RunAsync(
        Invocation invocation, string name, string? database, TimeSpan lifetime, bool printEnvironment, bool keep, string[] clientArguments)
    {
        if (printEnvironment && clientArguments.Length > 0)
        {
            throw CliException.Usage("--print-env runs no client, so it takes no arguments for one.");
        }

        var endpoint = await invocation.Server.GetAsync<ProxyEndpoint>(null, "proxy/v1/endpoint", invocation.Cancellation);
        var certificates = endpoint.Postgres.Tls ? await invocation.Server.GetTextAsync(null, "proxy/v1/ca", invocation.Cancellation) : null;
        var created = await invocation.Server.PostAsync<CreateCredential, CreatedCredential>(
            "identity", "identity/v1/credentials", new CreateCredential([name], (int)lifetime.TotalSeconds), invocation.Cancellation);
        var target = PostgresTarget.Of(endpoint, invocation.Server.BaseAddress, created.Credential.UserName, name, database);
        return printEnvironment
            ? PrintEnvironment(invocation, target, created, certificates)
            : await RunClientAsync(invocation, target, created, certificates, keep, clientArguments);
    }

    private static int PrintEnvironment(Invocation invocation, PostgresTarget target, CreatedCredential created, string? certificates)
    {
        var (passwordFile, certificateFile) = ClientFiles.WriteLasting(
            invocation.Profile, target, created.Secret, certificates, created.Credential.ExpiresAt, invocation.Host.Time.GetUtcNow());
        var environment = target.Environment(passwordFile, certificateFile);
        if (invocation.Output.IsJson)
        {
            invocation.Output.Json(new
            {
                credential = created.Credential.Id,
                expiresAt = created.Credential.ExpiresAt,
                environment = environment.Where(pair => pair.Value is not null).ToDictionary(pair => pair.Key, pair => pair.Value),
                unset = environment.Where(pair => pair.Value is null).Select(pair => pair.Key),
            });
            return ExitCodes.Ok;
        }

        foreach (var (variable, value) in environment)
        {
            invocation.Host.Out.WriteLine(value is null ? $"unset {variable}" : $"export {variable}={Quote(value)}");
        }

        invocation.Output.Notice($"Good until {CliOutput.Time(created.Credential.ExpiresAt)}; end it with: countersign credentials revoke {created.Credential.Id}");
        return ExitCodes.Ok;
    }

    private static async Task<int> RunClientAsync(
        Invocation invocation, PostgresTarget target, CreatedCredential created, string? certificates, bool keep, string[] clientArguments)
    {
        var program = invocation.Host.Variable("COUNTERSIGN_PSQL") is { Length: > 0 } named ? named : "psql";
        try
        {
            using var files = await ClientFiles.CreateAsync(invocation.Profile, invocation.Host.Time, invocation.Cancellation);
            files.Write(target, created.Secret, certificates);
            return await ClientProcess.RunAsync(invocation.Host, program, clientArguments, target.Environment(files.PasswordFile, files.CertificateFile));
        }
        finally
        {
            if (!keep)
            {
                await RevokeAsync(invocation, created.Credential);
            }
        }
    }

    // Hygiene, not protection: it would expire by itself. So a server that is gone doesn't change how the client ended.
    private static async Task RevokeAsync(Invocation invocation, CredentialView credential)
    {
        using var patience = new CancellationTokenSource(RevokePatience, invocation.Host.Time);
        try
        {
            await invocation.Server.DeleteAsync("identity", $"identity/v1/credentials/{Uri.EscapeDataString(credential.Id)}", patience.Token);
        }
        catch (Exception error) when (error is CliException or OperationCanceledException)
        {
            invocation.Output.Notice($"The access credential {credential.UserName} could not be revoked; it expires at {CliOutput.Time(credential.ExpiresAt)}.");
        }
    }

    private static string Quote(string value) => $"'{value.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}
