using System.Security.Cryptography;
using Countersign.Identity.Credentials;
using Countersign.Identity.Federation;
using Countersign.Identity.Federation.DevIssuer;
using Countersign.Identity.Persons;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Postgres;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.Options;

namespace Countersign.Identity.Host;

/// <summary>Composition of identity. The platform (state, bus, keys, clients) and hosting come from whoever composes the process.</summary>
public static class IdentityService
{
    /// <summary>Registers identity. What is wrong with its configuration stops the host at start, together with what is wrong with others'.</summary>
    public static IHostApplicationBuilder AddIdentityService(this IHostApplicationBuilder builder)
    {
        var options = IdentityOptions.Read(builder.Configuration);
        var errors = options.Errors(builder.Environment);
        var services = builder.Services;
        services.AddSingleton(options);
        services.AddSingleton<IValidateOptions<IdentityOptions>>(new IdentityOptionsCheck(errors));
        services.AddOptions<IdentityOptions>().ValidateOnStart();
        if (errors.Count > 0)
        {
            // Nothing is built from options that are wrong; the check says so when the host starts.
            return builder;
        }

        var isShared = builder.AddPostgresStorage(AppIds.Identity);
        services.AddSingleton(options.Provider);
        services.AddSingleton<ReturnTargets>();
        services.AddSingleton<IdentityReadiness>();
        AddPersons(services, options);
        AddCredentials(services, options, isShared);
        AddFederation(services, options);
        services.AddSingleton<Beacon>();
        services.AddSingleton<RemovalReviews>();
        services.AddSingleton<TrustedKeySet>();
        services.AddSingleton<ControlTermsInForce>();
        services.AddSingleton<PersonLifecycle>();
        services.AddSingleton<ControlRequests>();
        services.AddSingleton(provider => new BusSubscription(
            AppIds.Identity, Topics.Approvals, (e, cancellation) => provider.GetRequiredService<ControlRequests>().OnChangedAsync(e, cancellation)));
        services.AddHostedService<IdentityWork>();
        services.AddReadiness("identity", async (provider, cancellation) =>
        {
            await provider.GetRequiredKeyedService<IStateStore>(AppIds.Identity).GetAsync("bootstrap", "state", cancellation);
            return provider.GetRequiredService<IdentityReadiness>().IsStarted ? null : "identity has not read its state yet";
        });
        if (options.DevIssuer.Enabled)
        {
            DevIssuerService.Add(services, options.DevIssuer, options.Provider, options.BaseUrl, Path.GetFullPath(options.Data));
        }

        return builder;
    }

    /// <summary>Maps <c>/identity/…</c>, and <c>/dev-issuer/…</c> where it is on.</summary>
    public static IEndpointRouteBuilder MapIdentityService(this IEndpointRouteBuilder app)
    {
        var options = app.ServiceProvider.GetRequiredService<IdentityOptions>();
        if (options.DevIssuer.Enabled)
        {
            // OpenIddict answers its protocol endpoints from here.
            (app as IApplicationBuilder)?.UseAuthentication();
            DevIssuerService.Map(app);
        }

        var group = app.MapGroup("/identity").AddEndpointFilter<IdentityProblems>();
        TokenRoutes.Map(group);
        BrowserRoutes.Map(group);
        PersonRoutes.Map(group);
        CredentialRoutes.Map(group);
        return app;
    }

    private static void AddPersons(IServiceCollection services, IdentityOptions options)
    {
        services.AddSingleton(provider => new Bootstrap(State(provider), Path.Combine(Path.GetFullPath(options.Data), "bootstrap-token")));
        services.AddSingleton(provider => new PersonDirectory(State(provider), provider.GetRequiredService<Bootstrap>(), Time(provider)));
        services.AddMetrics();
        services.AddSingleton<IdentityMetrics>();
        services.AddSingleton(provider => new AuditTrail(
            State(provider), provider.GetRequiredService<IEventBus>(), provider.GetRequiredService<IdentityMetrics>(), Time(provider)));
    }

    private static void AddCredentials(IServiceCollection services, IdentityOptions options, bool isShared)
    {
        services.AddSingleton(provider => new RevocationFeed(State(provider), provider.GetRequiredService<IEventBus>(), Time(provider)));
        services.AddSingleton(provider => new AccessCredentials(
            State(provider), provider.GetRequiredService<PersonDirectory>(), provider.GetRequiredService<RevocationFeed>(),
            provider.GetRequiredService<AuditTrail>(), Time(provider)));
        services.AddSingleton(provider => new AccessTokens(
            State(provider), provider.GetRequiredService<PersonDirectory>(), provider.GetRequiredService<Bootstrap>(), Key(provider),
            provider.GetRequiredService<AuditTrail>(), Time(provider)));
        services.AddSingleton(provider => new LoginCodes(State(provider), Time(provider)));
        services.AddSingleton<ILoginExchanges>(provider => isShared ? new SharedLoginExchanges(State(provider), Time(provider)) : new OwnLoginExchanges(Time(provider)));
        services.AddSingleton(provider => isShared
            ? MockSecret.Shared(State(provider))
            : new MockSecret(_ => ValueTask.FromResult(OwnMockSecret(Path.Combine(Path.GetFullPath(options.Data), "keys", "identity.mock")))));
        services.AddSingleton(provider => new NativeLogins(
            provider.GetRequiredService<AccessCredentials>(), provider.GetRequiredService<PersonDirectory>(), Key(provider),
            provider.GetRequiredService<ILoginExchanges>(), provider.GetRequiredService<MockSecret>(), provider.GetRequiredService<AuditTrail>(),
            provider.GetRequiredService<IdentityMetrics>(), Time(provider)));
    }

    private static void AddFederation(IServiceCollection services, IdentityOptions options)
    {
        services.AddSingleton(provider => new ProviderMetadata(options.Provider.Issuer, ProviderMetadata.CreateClient(), Time(provider)));
        services.AddSingleton(provider => new LoginCookieSecret(State(provider)));
        services.AddSingleton(provider => new IdTokens(options.Provider, provider.GetRequiredService<ProviderMetadata>(), Time(provider)));
        services.AddSingleton(provider => new BrowserLogin(
            options.Provider, provider.GetRequiredService<ProviderMetadata>(), provider.GetRequiredService<IdTokens>(), ProviderMetadata.CreateClient(),
            new KeyedProtection(provider.GetRequiredService<LoginCookieSecret>().Value), Time(provider)));
    }

    /// <summary>Secret behind the salts of unknown user names: kept, so that a salt doesn't change with a restart and give an unknown name away.</summary>
    private static byte[] OwnMockSecret(string path)
    {
        if (!File.Exists(path))
        {
            Platform.Embedded.PrivateFiles.WriteAtomically(path, RandomNumberGenerator.GetBytes(32));
        }

        return File.ReadAllBytes(path);
    }

    private static IStateStore State(IServiceProvider provider) => provider.GetRequiredKeyedService<IStateStore>(AppIds.Identity);

    private static SigningKey Key(IServiceProvider provider) => provider.GetRequiredKeyedService<SigningKey>(AppIds.Identity);

    private static TimeProvider Time(IServiceProvider provider) => provider.GetRequiredService<TimeProvider>();
}

/// <summary>Stops the host at start where the options are wrong.</summary>
internal sealed class IdentityOptionsCheck(IReadOnlyList<string> errors) : IValidateOptions<IdentityOptions>
{
    public ValidateOptionsResult Validate(string? name, IdentityOptions options) =>
        errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);
}

/// <summary>Turns refusals of identity's parts into problem details.</summary>
internal sealed class IdentityProblems : IEndpointFilter
{
    public async ValueTask<object?> InvokeAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        try
        {
            return await next(context);
        }
        catch (IdentityException refused)
        {
            return Problems.Result(refused.Status, refused.Code, refused.Message);
        }
        catch (ProviderUnavailableException)
        {
            return Problems.Result(503, "provider-unavailable", "The identity provider can't be asked now.");
        }
    }
}
