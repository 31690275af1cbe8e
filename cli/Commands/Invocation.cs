using System.CommandLine;
using System.Text.Json;
using Countersign.Cli.Login;
using Countersign.Cli.Output;
using Countersign.Cli.Profiles;
using Countersign.Cli.Server;
using Countersign.Identity.Contracts;

namespace Countersign.Cli.Commands;

/// <summary>One run of one command: its arguments, whose login, which server, where to print.</summary>
internal sealed class Invocation : IDisposable
{
    private const string Development = "http://127.0.0.1:8080/";
    private readonly ParseResult _parsed;
    private readonly GlobalOptions _options;
    private readonly Lazy<Profile> _profile;
    private readonly Lazy<CountersignServer> _server;
    private readonly Lazy<AccessTokens> _tokens;

    public Invocation(CliHost host, GlobalOptions options, ParseResult parsed, bool outputMayBeFile, CancellationToken cancellation)
    {
        _parsed = parsed;
        _options = options;
        Host = host;
        Cancellation = cancellation;
        var output = parsed.GetValue(options.Output);
        if (output is not (null or "text" or "json") && !outputMayBeFile)
        {
            throw CliException.Usage($"'{output}' is not an output format.", "Use --output text or --output json.");
        }

        OutputFile = output is null or "text" or "json" ? null : output;
        Output = new CliOutput(host, output == "json");
        _profile = new Lazy<Profile>(() => Profile.Open(host, parsed.GetValue(options.Profile)));
        _tokens = new Lazy<AccessTokens>(() => new AccessTokens(Profile, ExchangeAsync, host.Time));
        _server = new Lazy<CountersignServer>(() => new CountersignServer(host.CreateHandler(), ServerAddress(), new OwnServerTokens(this)));
    }

    public CliHost Host { get; }

    public CliOutput Output { get; }

    /// <summary>What <c>--output</c> names where it is not a format.</summary>
    public string? OutputFile { get; }

    public CancellationToken Cancellation { get; }

    public Profile Profile => _profile.Value;

    public CountersignServer Server => _server.Value;

    public AccessTokens Tokens => _tokens.Value;

    public T? Get<T>(Option<T> option) => _parsed.GetValue(option);

    public T Get<T>(Argument<T> argument) => _parsed.GetValue(argument)!;

    /// <summary>Claims of the profile's own token, for messages and for "mine"; the services check the token, not this reading of it.</summary>
    public async Task<AccessTokenClaims> OwnClaimsAsync()
    {
        _ = Server;
        var token = await new OwnServerTokens(this).GetAsync("identity", unlike: null, Cancellation);
        try
        {
            return JsonSerializer.Deserialize<AccessTokenClaims>(Jwt.Payload(token), CliJson.Wire) ?? throw new JsonException("no claims");
        }
        catch (Exception error) when (error is JsonException or FormatException)
        {
            throw new CliException(ExitCodes.Unavailable, "The server's token is not understood.", "Are countersign and the server of the same version?", "bad-answer", error);
        }
    }

    /// <summary>Prints one document, or what is for people.</summary>
    public int Print<T>(T value, Action<CliOutput> forPeople, int exit = ExitCodes.Ok)
    {
        if (Output.IsJson)
        {
            Output.Json(value);
        }
        else
        {
            forPeople(Output);
        }

        return exit;
    }

    public void Dispose()
    {
        if (_server.IsValueCreated)
        {
            _server.Value.Dispose();
        }
    }

    private Uri ServerAddress()
    {
        var text = _parsed.GetValue(_options.Server) ?? NonEmpty(Host.Variable("COUNTERSIGN_SERVER")) ?? Profile.ReadSettings().Server ?? Development;
        if (!Uri.TryCreate(text.TrimEnd('/') + "/", UriKind.Absolute, out var address) || address.Scheme is not ("http" or "https"))
        {
            throw CliException.Usage($"'{text}' is not the address of a server.", "Give a URL such as https://countersign.example.com");
        }

        if (!Transport.IsSafe(address) && Host.Variable("COUNTERSIGN_ALLOW_HTTP") != "1")
        {
            throw CliException.Usage($"{address} is not https, so tokens don't travel there.", "Where the network itself is trusted, set COUNTERSIGN_ALLOW_HTTP=1.");
        }

        return address;
    }

    private Task<TokenResponse> ExchangeAsync(TokenRequest request, CancellationToken cancellation) =>
        Server.PostAsync<TokenRequest, TokenResponse>(null, "identity/v1/tokens", request, cancellation);

    private static string? NonEmpty(string? value) => string.IsNullOrWhiteSpace(value) ? null : value;

    /// <summary>Tokens go only to the server that gave them: another --server would else be handed somebody's login.</summary>
    private sealed class OwnServerTokens(Invocation invocation) : IAccessTokens
    {
        public Task<string> GetAsync(string audience, string? unlike, CancellationToken cancellation)
        {
            var bound = invocation.Profile.ReadSettings().Server;
            if (bound is not null && new Uri(bound) != invocation.Server.BaseAddress && invocation.Profile.ReadRefreshToken() is not null)
            {
                throw new CliException(
                    ExitCodes.NotLoggedIn, $"Profile '{invocation.Profile.Name}' is logged in at {bound}, not at {invocation.Server.BaseAddress}.",
                    "Log in there with another --profile, or log out first.", "other-server");
            }

            return invocation.Tokens.GetAsync(audience, unlike, cancellation);
        }
    }
}
