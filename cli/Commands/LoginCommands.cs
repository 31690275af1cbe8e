using System.CommandLine;
using System.Text.Json;
using Countersign.Cli.Login;
using Countersign.Cli.Output;
using Countersign.Cli.Profiles;
using Countersign.Cli.Server;
using Countersign.Identity.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>login, logout, whoami and bootstrap.</summary>
internal static class LoginCommands
{
    public static IEnumerable<Command> Create(CommandFactory make)
    {
        var device = new Option<bool>("--device") { Description = "Log in on another screen with a code." };
        var browser = new Option<bool>("--browser") { Description = "Log in with the browser of this machine." };
        var stdin = new Option<bool>("--id-token-stdin") { Description = "Take an id_token of the provider from stdin, for machines that have one." };
        yield return make.New(
            "login", "Log in at the identity provider.", invocation => LogInAsync(invocation, invocation.Get(device), invocation.Get(browser), invocation.Get(stdin)),
            device, browser, stdin);

        yield return make.New("logout", "Forget the login of the profile.", LogOutAsync);
        yield return make.New("whoami", "Show who is logged in, as the server sees it now.", WhoAmIAsync);

        var file = new Option<string>("--token-file") { Description = "File with the one-time token that the server wrote.", Required = true, HelpName = "FILE" };
        yield return make.New("bootstrap", "Become the first person of a new server.", invocation => BootstrapAsync(invocation, invocation.Get(file)!), file);
    }

    private static async Task<int> LogInAsync(Invocation invocation, bool device, bool browser, bool stdin)
    {
        if ((device ? 1 : 0) + (browser ? 1 : 0) + (stdin ? 1 : 0) > 1)
        {
            throw CliException.Usage("--device, --browser and --id-token-stdin exclude one another.");
        }

        var (idToken, nonce) = stdin ? (await ReadIdTokenAsync(invocation), null) : await AskProviderAsync(invocation, browser || (!device && HasBrowser(invocation.Host)));
        await invocation.Tokens.LogInAsync("identity", idToken, nonce, invocation.Server.BaseAddress, invocation.Cancellation);
        var claims = await invocation.OwnClaimsAsync();
        if (invocation.Output.IsJson)
        {
            invocation.Output.JsonLine(new { @event = "logged-in", profile = invocation.Profile.Name, person = claims.Person, name = claims.Name, enrolled = claims.Enrolled });
        }
        else
        {
            invocation.Output.Line($"Logged in as {claims.Name} at {invocation.Server.BaseAddress}");
        }

        return ExitCodes.Ok;
    }

    private static async Task<(string IdToken, string? Nonce)> AskProviderAsync(Invocation invocation, bool browser)
    {
        var login = await invocation.Server.GetAsync<LoginProvider>(null, "identity/v1/login", invocation.Cancellation);
        if (login.DevelopmentOnly)
        {
            invocation.Output.Notice("This server logs people in with its development issuer: nothing behind it is protected.");
        }

        using var provider = await OidcProvider.DiscoverAsync(invocation.Host.CreateHandler(), login, invocation.Cancellation);
        if (!browser)
        {
            return (await DeviceLogin.RunAsync(provider, prompt => Show(invocation.Output, prompt), invocation.Host.Time, invocation.Cancellation), null);
        }

        return await BrowserLogin.RunAsync(provider, invocation.Host.OpenBrowser, page => Show(invocation.Output, page), invocation.Host.Time, invocation.Cancellation);
    }

    private static void Show(CliOutput output, DevicePrompt prompt)
    {
        if (output.IsJson)
        {
            output.JsonLine(new
            {
                @event = "device-code",
                verificationUri = prompt.VerificationUri,
                verificationUriComplete = prompt.VerificationUriComplete,
                userCode = prompt.UserCode,
                expiresAt = prompt.ExpiresAt,
            });
            return;
        }

        output.Line($"Open {prompt.VerificationUri} and enter the code {prompt.UserCode}");
        if (prompt.VerificationUriComplete is not null)
        {
            output.Line($"or open {prompt.VerificationUriComplete}");
        }

        output.Line($"The code is good until {CliOutput.Time(prompt.ExpiresAt)}. Enter it only if you have just started this login yourself.");
    }

    private static void Show(CliOutput output, Uri page)
    {
        if (output.IsJson)
        {
            output.JsonLine(new { @event = "browser", uri = page });
            return;
        }

        output.Line("Log in with the browser. If it does not open by itself, open:");
        output.Line(page.AbsoluteUri);
    }

    private static async Task<string> ReadIdTokenAsync(Invocation invocation)
    {
        var token = (await invocation.Host.In.ReadLineAsync(invocation.Cancellation))?.Trim();
        return string.IsNullOrEmpty(token) ? throw CliException.Usage("There is no id_token on stdin.") : token;
    }

    private static bool HasBrowser(CliHost host) =>
        host.OutputIsTerminal && string.IsNullOrEmpty(host.Variable("SSH_CONNECTION"))
        && (!string.IsNullOrEmpty(host.Variable("WAYLAND_DISPLAY")) || !string.IsNullOrEmpty(host.Variable("DISPLAY")));

    private static async Task<int> LogOutAsync(Invocation invocation)
    {
        bool had;
        using (await invocation.Profile.LockAsync(invocation.Cancellation))
        {
            had = invocation.Profile.Forget();
        }

        return invocation.Print(
            new { profile = invocation.Profile.Name, wasLoggedIn = had },
            output => output.Line(had ? $"Profile '{invocation.Profile.Name}' is logged out here." : $"Profile '{invocation.Profile.Name}' was not logged in."));
    }

    private static async Task<int> WhoAmIAsync(Invocation invocation)
    {
        // A token of before an enrolment still says otherwise: ask again.
        await invocation.Tokens.RenewAsync(invocation.Cancellation);
        var claims = await invocation.OwnClaimsAsync();
        return invocation.Print(
            new
            {
                profile = invocation.Profile.Name,
                server = invocation.Server.BaseAddress,
                person = claims.Person,
                name = claims.Name,
                principal = claims.Subject,
                kind = claims.Kind,
                enrolled = claims.Enrolled,
                bootstrap = claims.Bootstrap,
                groups = claims.Groups,
                acr = claims.Acr,
                amr = claims.Amr,
                authenticatedAt = DateTimeOffset.FromUnixTimeSeconds(claims.AuthenticatedAt),
            },
            output => output.Fields(
                ("name", claims.Name),
                ("person", claims.Person),
                ("principal", $"{claims.Subject} ({claims.Kind})"),
                ("approver", claims.Enrolled ? "enrolled" : "not enrolled: can't decide requests of others"),
                ("bootstrap", claims.Bootstrap ? "first person: may decide control requests alone until somebody else is enrolled" : null),
                ("groups", string.Join(", ", claims.Groups)),
                ("assurance", string.Join(", ", claims.Amr.Prepend(claims.Acr ?? "").Where(part => part.Length > 0))),
                ("logged in", CliOutput.Time(DateTimeOffset.FromUnixTimeSeconds(claims.AuthenticatedAt))),
                ("profile", invocation.Profile.Name),
                ("server", invocation.Server.BaseAddress.AbsoluteUri)));
    }

    private static async Task<int> BootstrapAsync(Invocation invocation, string file)
    {
        var token = (PrivateFile.Read(file) ?? throw CliException.Usage($"There is no file {file}.")).Trim();
        await invocation.Server.PostAsync("identity", "identity/v1/bootstrap", new BootstrapRequest(token), invocation.Cancellation);
        await invocation.Tokens.RenewAsync(invocation.Cancellation);
        AccessTokenClaims claims = await invocation.OwnClaimsAsync();
        return invocation.Print(
            new { person = claims.Person, name = claims.Name, enrolled = claims.Enrolled, bootstrap = claims.Bootstrap },
            output =>
            {
                output.Line($"{claims.Name} is the first person of this server, and may decide control requests alone until somebody else is enrolled.");
                output.Line("Next: let a second person log in, then run: countersign persons enrol PERSON");
            });
    }
}
