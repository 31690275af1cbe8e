using System.CommandLine;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Cli.Output;
using Countersign.Cli.Server;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;

namespace Countersign.Cli.Commands;

/// <summary>
/// connections add: registers a target. Its credential is sealed here to the proxy group's key and leaves this process only so (I7); bound to name, address, port and TLS
/// trust, so that it opens for nothing else. Or it isn't here at all, but in the secret store of the proxies.
/// </summary>
internal static class AddConnectionCommand
{
    /// <summary>Largest file of certificates, in bytes.</summary>
    private const long LargestCertificates = 256 * 1024;

    public static Command Create(CommandFactory make)
    {
        var name = new Argument<string>("NAME") { Description = "Name of the connection: lower-case letters, digits and hyphens." };
        var host = new Option<string>("--host") { Description = "Host name or address of the target.", Required = true, HelpName = "HOST" };
        var port = new Option<int>("--port") { Description = "TCP port (default 5432).", HelpName = "PORT", DefaultValueFactory = _ => 5432 };
        var database = new Option<string>("--database", "-d") { Description = "Database where the client names none.", Required = true, HelpName = "D" };
        var user = new Option<string?>("--user") { Description = "Role at the target; its credential is sealed and goes along.", HelpName = "ROLE" };
        var passwordStdin = new Option<bool>("--password-stdin") { Description = "Read the role's password from the first line of stdin." };
        var noPassword = new Option<bool>("--no-password") { Description = "The role needs none (a target on loopback with trust)." };
        var store = new Option<bool>("--credential-store") { Description = "The proxies read role and password from their secret store, for each session; nothing of them is asked for here." };
        var label = new Option<string[]>("--label") { Description = "Label that policies match on; may be repeated.", HelpName = "K=V" };
        var tls = new Option<string>("--tls") { Description = "verify-full (default), or disable, for loopback only.", HelpName = "MODE", DefaultValueFactory = _ => "verify-full" };
        tls.AcceptOnlyFromAmong("verify-full", "disable");
        var certificates = new Option<string?>("--trusted-certificates") { Description = "PEM file of the authorities trusted for the target (default: the system's).", HelpName = "FILE" };
        var group = new Option<string>("--proxy-group") { Description = "The proxies that may open the credential (default: default).", HelpName = "GROUP", DefaultValueFactory = _ => "default" };
        var reason = Changes.ReasonOption();
        var wait = Changes.WaitOption();
        var timeout = Arguments.Timeout();
        return make.New("add", "Ask for a target to be registered; a second person approves.", async invocation =>
        {
            var connection = new Connection
            {
                Name = invocation.Get(name),
                Protocol = "postgres",
                Host = invocation.Get(host)!,
                Port = invocation.Get(port) is var number and >= 1 and <= 65535 ? number : throw CliException.Usage("A port is between 1 and 65535."),
                Database = invocation.Get(database)!,
                Tls = invocation.Get(tls)!,
                TrustedCertificates = invocation.Get(certificates) is { } file ? ReadCertificates(file) : null,
                Labels = Labels(invocation.Get(label) ?? []),
                ProxyGroup = invocation.Get(group)!,
            };
            if (invocation.Get(store))
            {
                if (invocation.Get(user) is not null || invocation.Get(passwordStdin) || invocation.Get(noPassword))
                {
                    throw CliException.Usage("With --credential-store, role and password are in the store.", "Leave --user, --password-stdin and --no-password out.");
                }

                connection = connection with { CredentialFrom = CredentialProviders.SecretStore };
            }
            else
            {
                var role = invocation.Get(user) is { Length: > 0 } given ? given : throw CliException.Usage("The role at the target is missing.", "Say --user, or --credential-store.");
                var password = await PasswordAsync(invocation, invocation.Get(passwordStdin), invocation.Get(noPassword));
                connection = await SealAsync(invocation, connection, new TargetCredential(role, password));
            }

            var code = await Changes.AskAsync(
                invocation, new PolicyChangeRequest { Connections = [connection], Reason = invocation.Get(reason) ?? "" }, invocation.Get(wait), invocation.Get(timeout));
            if (connection.CredentialFrom is not null && !invocation.Output.IsJson)
            {
                ShowSecret(invocation.Output, connection);
            }

            return code;
        }, name, host, port, database, user, passwordStdin, noPassword, store, label, tls, certificates, group, reason, wait, timeout);
    }

    /// <summary>What must stand in the store: the proxies take a secret for exactly this target.</summary>
    private static void ShowSecret(CliOutput output, Connection connection)
    {
        var secret = new Dictionary<string, string>
        {
            ["user"] = "ROLE",
            ["password"] = "PASSWORD",
            ["host"] = connection.Host,
            ["port"] = connection.Port.ToString(CultureInfo.InvariantCulture),
        };
        if (connection.Tls != "verify-full")
        {
            secret["tls"] = connection.Tls;
        }

        if (connection.TrustedCertificates is { } pem)
        {
            secret["trust"] = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(pem)));
        }

        output.Line();
        output.Line($"The proxies look in their secret store for '{connection.Name}'. With role and password put in, it must be:");
        output.Line(JsonSerializer.Serialize(secret));
    }

    private static async Task<Connection> SealAsync(Invocation invocation, Connection connection, TargetCredential credential)
    {
        var key = await invocation.Server.GetAsync<SealingKey>(
            null, CountersignServer.Query("proxy/v1/sealing-key", ("group", connection.ProxyGroup)), invocation.Cancellation);
        try
        {
            return connection with { Credential = CredentialSealing.Seal(key, connection, credential) };
        }
        catch (CryptographicException error)
        {
            throw new CliException(ExitCodes.Unavailable, "The proxy group's key can't be used, so nothing was sent.", code: "bad-sealing-key", inner: error);
        }
    }

    private static async Task<string?> PasswordAsync(Invocation invocation, bool stdin, bool none)
    {
        if (stdin == none)
        {
            throw CliException.Usage("How the role logs in is missing.", "Pipe the password in with --password-stdin, or say --no-password.");
        }

        if (none)
        {
            return null;
        }

        var password = await invocation.Host.In.ReadLineAsync(invocation.Cancellation);
        return string.IsNullOrEmpty(password) ? throw CliException.Usage("There is no password on stdin.") : password;
    }

    private static Dictionary<string, string> Labels(string[] labels)
    {
        var result = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var label in labels)
        {
            var cut = label.IndexOf('=', StringComparison.Ordinal);
            if (cut < 1 || !result.TryAdd(label[..cut], label[(cut + 1)..]))
            {
                throw CliException.Usage($"'{TerminalText.Line(label)}' is not a label of its own.", "Use --label name=value, each name once.");
            }
        }

        return result;
    }

    private static string ReadCertificates(string file)
    {
        if (!File.Exists(file) || new FileInfo(file).Length > LargestCertificates)
        {
            throw CliException.Usage($"There is no file {file}, or it is too large.");
        }

        var text = File.ReadAllText(file);
        return text.Contains("-----BEGIN CERTIFICATE-----", StringComparison.Ordinal) ? text : throw CliException.Usage($"{file} holds no PEM certificate.");
    }
}
