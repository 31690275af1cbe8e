using System.Collections.Immutable;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenIddict.Abstractions;
using OpenIddict.Server;
using static OpenIddict.Abstractions.OpenIddictConstants;

namespace Countersign.Identity.Federation.DevIssuer;

/// <summary>Composition of the development issuer: an OpenID provider (OpenIddict) inside the host, under <c>/dev-issuer/</c>, for laptops, demos and tests.</summary>
public static class DevIssuerService
{
    /// <summary>Path under which everything lies, without the slashes.</summary>
    public const string Prefix = "dev-issuer";

    internal const string Scheme = "countersign-dev-issuer";

    /// <summary>The issuer's name.</summary>
    public static string IssuerOf(string baseUrl) => baseUrl.TrimEnd('/') + "/" + Prefix;

    /// <summary>Registers it.</summary>
    /// <param name="services">Services.</param>
    /// <param name="options">Checked options.</param>
    /// <param name="provider">Names of the clients to know.</param>
    /// <param name="baseUrl">Where the host is reached.</param>
    /// <param name="dataDirectory">Directory for its database and keys.</param>
    public static void Add(IServiceCollection services, DevIssuerOptions options, ProviderOptions provider, string baseUrl, string dataDirectory)
    {
        var keys = Path.Combine(dataDirectory, "keys");
        services.AddSingleton(new DevUsers(options));
        services.AddSingleton(new DevIssuerClients(provider, baseUrl));
        services.AddDbContext<DevIssuerDatabase>(database =>
        {
            database.UseSqlite($"Data Source={Path.Combine(dataDirectory, "dev-issuer.db")}");
            database.UseOpenIddict();
        });
        services.AddAuthentication().AddCookie(Scheme, cookie =>
        {
            cookie.Cookie.Name = "countersign-dev-issuer";
            cookie.Cookie.HttpOnly = true;
            cookie.Cookie.SameSite = SameSiteMode.Lax;
            cookie.Cookie.Path = "/" + Prefix;
            cookie.Cookie.SecurePolicy = CookieSecurePolicy.SameAsRequest;
            cookie.ExpireTimeSpan = TimeSpan.FromHours(8);
            cookie.SlidingExpiration = false;
        });
        services.AddOpenIddict()
            .AddCore(core => core.UseEntityFrameworkCore().UseDbContext<DevIssuerDatabase>())
            .AddServer(server =>
            {
                server.SetIssuer(new Uri(IssuerOf(baseUrl)));
                server.SetConfigurationEndpointUris($"{Prefix}/.well-known/openid-configuration")
                    .SetJsonWebKeySetEndpointUris($"{Prefix}/.well-known/jwks")
                    .SetAuthorizationEndpointUris($"{Prefix}/authorize")
                    .SetTokenEndpointUris($"{Prefix}/token")
                    .SetDeviceAuthorizationEndpointUris($"{Prefix}/device-authorization")
                    .SetEndUserVerificationEndpointUris($"{Prefix}/device");
                server.AllowAuthorizationCodeFlow().AllowDeviceAuthorizationFlow().RequireProofKeyForCodeExchange();
                server.Configure(server => server.CodeChallengeMethods.Remove(CodeChallengeMethods.Plain));
                server.RegisterScopes(Scopes.OpenId, Scopes.Profile, Scopes.Email, "groups");
                server.RegisterClaims(Claims.Email, Claims.Name, "groups", Claims.AuthenticationTime, Claims.AuthenticationMethodReference);
                server.SetAuthorizationCodeLifetime(TimeSpan.FromMinutes(2)).SetIdentityTokenLifetime(TimeSpan.FromMinutes(10))
                    .SetAccessTokenLifetime(TimeSpan.FromMinutes(10)).SetDeviceCodeLifetime(TimeSpan.FromMinutes(10)).SetUserCodeLifetime(TimeSpan.FromMinutes(10));
                // RFC 8628, section 3.2: without it a device waits 5 s between its questions.
                server.AddEventHandler<OpenIddictServerEvents.ApplyDeviceAuthorizationResponseContext>(handler => handler.UseInlineHandler(context =>
                {
                    context.Response["interval"] = options.DevicePollSeconds;
                    return default;
                }));
                server.AddSigningKey(DevIssuerKeys.Signing(keys)).AddEncryptionKey(DevIssuerKeys.Encryption(keys));
                server.UseAspNetCore()
                    .EnableAuthorizationEndpointPassthrough()
                    .EnableEndUserVerificationEndpointPassthrough()
                    // http is possible on loopback only: Countersign:BaseUrl is checked at start.
                    .DisableTransportSecurityRequirement();
            });
        services.AddHostedService<DevIssuerStart>();
    }

    /// <summary>Maps its pages; the protocol endpoints are OpenIddict's.</summary>
    public static void Map(IEndpointRouteBuilder app) => DevIssuerEndpoints.Map(app);
}

/// <summary>Clients that the development issuer knows.</summary>
internal sealed class DevIssuerClients(ProviderOptions provider, string baseUrl)
{
    public IEnumerable<OpenIddictApplicationDescriptor> All()
    {
        var cli = Describe(provider.ClientId, "Countersign CLI", "");
        // Native: any port of a loopback redirect matches (RFC 8252, section 7.3).
        cli.ApplicationType = ApplicationTypes.Native;
        cli.Permissions.UnionWith([Permissions.Endpoints.DeviceAuthorization, Permissions.GrantTypes.DeviceCode]);
        foreach (var host in new[] { "127.0.0.1", "localhost", "[::1]" })
        {
            cli.RedirectUris.UnionWith([new Uri($"http://{host}/"), new Uri($"http://{host}/callback")]);
        }

        var web = Describe(provider.WebClientId, "Countersign", provider.WebClientSecret);
        web.RedirectUris.Add(new Uri(baseUrl.TrimEnd('/') + "/identity/callback"));
        return [cli, web];
    }

    private static OpenIddictApplicationDescriptor Describe(string id, string name, string secret) => new()
    {
        ClientId = id,
        DisplayName = name,
        ClientSecret = secret.Length == 0 ? null : secret,
        ClientType = secret.Length == 0 ? ClientTypes.Public : ClientTypes.Confidential,
        ConsentType = ConsentTypes.Implicit,
        Requirements = { Requirements.Features.ProofKeyForCodeExchange },
        Permissions =
        {
            Permissions.Endpoints.Authorization, Permissions.Endpoints.Token, Permissions.GrantTypes.AuthorizationCode, Permissions.ResponseTypes.Code,
            Permissions.Scopes.Email, Permissions.Scopes.Profile, Permissions.Prefixes.Scope + "groups",
        },
    };
}

/// <summary>OpenIddict's tables.</summary>
internal sealed class DevIssuerDatabase(DbContextOptions<DevIssuerDatabase> options) : DbContext(options);

/// <summary>Warns, makes the database and the clients, and forgets old tokens.</summary>
internal sealed partial class DevIssuerStart(IServiceProvider provider, DevIssuerClients clients, ILogger<DevIssuerStart> logger) : IHostedService
{
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        LogWarning();
        await using var scope = provider.CreateAsyncScope();
        var database = scope.ServiceProvider.GetRequiredService<DevIssuerDatabase>();
        var path = new Microsoft.Data.Sqlite.SqliteConnectionStringBuilder(database.Database.GetConnectionString()).DataSource;
        if (!File.Exists(path))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            await using var stream = new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
        }

        await database.Database.EnsureCreatedAsync(cancellationToken);
        var applications = scope.ServiceProvider.GetRequiredService<IOpenIddictApplicationManager>();
        foreach (var client in clients.All())
        {
            if (await applications.FindByClientIdAsync(client.ClientId!, cancellationToken) is { } known)
            {
                await applications.UpdateAsync(known, client, cancellationToken);
            }
            else
            {
                await applications.CreateAsync(client, cancellationToken);
            }
        }

        var tokens = scope.ServiceProvider.GetRequiredService<IOpenIddictTokenManager>();
        await tokens.PruneAsync(DateTimeOffset.UtcNow.AddDays(-1), cancellationToken);
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    [LoggerMessage(2001, LogLevel.Critical,
        "THE DEVELOPMENT ISSUER IS ON. Anybody who knows its configured passwords is whoever they like. Never use it where anything is real.")]
    private partial void LogWarning();
}
