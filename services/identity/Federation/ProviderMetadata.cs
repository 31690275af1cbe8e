using System.Net;
using Microsoft.IdentityModel.Protocols;
using Microsoft.IdentityModel.Protocols.OpenIdConnect;
using Microsoft.IdentityModel.Tokens;

namespace Countersign.Identity.Federation;

/// <summary>The provider can't be used: not reachable, or its metadata is not what they must be.</summary>
public sealed class ProviderUnavailableException : Exception
{
    /// <summary>Says why.</summary>
    public ProviderUnavailableException(string message, Exception? inner)
        : base(message, inner)
    {
    }

    /// <summary>Says why.</summary>
    public ProviderUnavailableException(string message)
        : base(message)
    {
    }

    /// <summary>Without a message.</summary>
    public ProviderUnavailableException()
    {
    }
}

/// <summary>
/// Discovery document and keys of the provider (OpenID Connect Discovery 1.0), fetched when needed, kept for a while. A key id that isn't known has them
/// fetched again at once, but not more often than every <see cref="MinRefresh"/>: so a rotation is followed without a restart, and forged key ids
/// don't become traffic.
/// </summary>
public sealed class ProviderMetadata : IDisposable
{
    /// <summary>Age after which they are fetched again. A provider that is down then is used with what was known, up to <see cref="MaxAge"/>.</summary>
    public static readonly TimeSpan RefreshAfter = TimeSpan.FromHours(1);
    /// <summary>Age after which they aren't used any more.</summary>
    public static readonly TimeSpan MaxAge = TimeSpan.FromHours(24);
    /// <summary>Shortest time between two fetches.</summary>
    public static readonly TimeSpan MinRefresh = TimeSpan.FromSeconds(5);

    private const int MaxDocumentLength = 512 * 1024;
    private readonly string _issuer;
    private readonly HttpClient _http;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _fetching = new(1, 1);
    private Known? _known;

    /// <param name="issuer">Issuer, exactly.</param>
    /// <param name="http">Client; <see cref="CreateClient"/> makes a fitting one.</param>
    /// <param name="time">Clock.</param>
    public ProviderMetadata(string issuer, HttpClient http, TimeProvider time)
    {
        _issuer = issuer;
        _http = http;
        _time = time;
    }

    /// <summary>A client that follows no redirects and reads no endless answers.</summary>
    public static HttpClient CreateClient() => new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        ConnectTimeout = TimeSpan.FromSeconds(5),
        PooledConnectionLifetime = TimeSpan.FromMinutes(5),
    })
    {
        Timeout = TimeSpan.FromSeconds(10),
        MaxResponseContentBufferSize = MaxDocumentLength,
    };

    /// <summary>Issuer, exactly.</summary>
    public string Issuer => _issuer;

    /// <summary>Whether an endpoint may be spoken to: https, or loopback.</summary>
    public static bool IsSafe(Uri uri) => uri.Scheme == Uri.UriSchemeHttps || (uri.Scheme == Uri.UriSchemeHttp && uri.IsLoopback);

    /// <summary>The present metadata.</summary>
    /// <exception cref="ProviderUnavailableException">There is none that may be used.</exception>
    public async ValueTask<OpenIdConnectConfiguration> GetAsync(CancellationToken cancellation)
    {
        var known = Volatile.Read(ref _known);
        var age = known is null ? TimeSpan.MaxValue : _time.GetUtcNow() - known.At;
        if (age < RefreshAfter)
        {
            return known!.Configuration;
        }

        try
        {
            return await FetchAsync(known, cancellation);
        }
        catch (ProviderUnavailableException) when (age < MaxAge)
        {
            return known!.Configuration;
        }
    }

    /// <summary>Fetches again, for a key id that isn't known; the same ones where that happened just now.</summary>
    public async ValueTask<OpenIdConnectConfiguration> RefreshAsync(OpenIdConnectConfiguration stale, CancellationToken cancellation)
    {
        var known = Volatile.Read(ref _known);
        if (known is null || !ReferenceEquals(known.Configuration, stale))
        {
            return known?.Configuration ?? stale;
        }

        return _time.GetUtcNow() - known.At < MinRefresh ? stale : await FetchAsync(known, cancellation);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _fetching.Dispose();
        _http.Dispose();
    }

    private async ValueTask<OpenIdConnectConfiguration> FetchAsync(Known? seen, CancellationToken cancellation)
    {
        await _fetching.WaitAsync(cancellation);
        try
        {
            if (_known is { } fresh && !ReferenceEquals(fresh, seen))
            {
                return fresh.Configuration;
            }

            var address = _issuer.TrimEnd('/') + "/.well-known/openid-configuration";
            var retriever = new HttpDocumentRetriever(_http) { RequireHttps = !new Uri(address).IsLoopback };
            var configuration = await OpenIdConnectConfigurationRetriever.GetAsync(address, retriever, cancellation);
            Check(configuration);
            Volatile.Write(ref _known, new Known(configuration, _time.GetUtcNow()));
            return configuration;
        }
        catch (Exception error) when (error is IOException or HttpRequestException or ArgumentException or InvalidOperationException
            or System.Text.Json.JsonException || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new ProviderUnavailableException($"The provider {_issuer} can't be asked: {error.Message}", error);
        }
        finally
        {
            _fetching.Release();
        }
    }

    private void Check(OpenIdConnectConfiguration configuration)
    {
        if (configuration.Issuer != _issuer)
        {
            throw new ProviderUnavailableException($"The discovery document at {_issuer} names another issuer.");
        }

        foreach (var endpoint in new[] { configuration.TokenEndpoint, configuration.JwksUri })
        {
            if (!Uri.TryCreate(endpoint, UriKind.Absolute, out var uri) || !IsSafe(uri))
            {
                throw new ProviderUnavailableException($"The discovery document of {_issuer} has an endpoint that is missing or not https.");
            }
        }

        foreach (var weak in configuration.SigningKeys.Where(key => !IsStrong(key)).ToList())
        {
            configuration.SigningKeys.Remove(weak);
        }

        if (configuration.SigningKeys.Count == 0)
        {
            throw new ProviderUnavailableException($"The provider {_issuer} has no usable signing keys.");
        }
    }

    // A symmetric key in a public key set would make everybody able to sign.
    private static bool IsStrong(SecurityKey key) => key switch
    {
        JsonWebKey { Kty: JsonWebAlgorithmsKeyTypes.RSA } jwk => jwk.KeySize >= 2048 && jwk.Use is null or "sig" or "",
        JsonWebKey { Kty: JsonWebAlgorithmsKeyTypes.EllipticCurve } jwk => jwk.Use is null or "sig" or "",
        RsaSecurityKey rsa => rsa.KeySize >= 2048,
        ECDsaSecurityKey => true,
        X509SecurityKey certificate => certificate.KeySize >= 2048 || certificate.PublicKey is System.Security.Cryptography.ECDsa,
        _ => false,
    };

    private sealed record Known(OpenIdConnectConfiguration Configuration, DateTimeOffset At);
}
