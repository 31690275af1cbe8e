namespace Countersign.Identity.Federation;

/// <summary>The OpenID provider that logs people in. Section <c>Countersign:Identity:Provider</c>.</summary>
public sealed class ProviderOptions
{
    internal const string Basic = "client_secret_basic";
    internal const string Post = "client_secret_post";

    /// <summary>Issuer, exactly as in its discovery document. With the development issuer on and nothing here, that one.</summary>
    public string Issuer { get; set; } = "";
    /// <summary>Public client of the CLI: device code, or code + PKCE with a loopback redirect.</summary>
    public string ClientId { get; set; } = "countersign-cli";
    /// <summary>Client of the login in a browser; its redirect URI is <c>{BaseUrl}/identity/callback</c>.</summary>
    public string WebClientId { get; set; } = "countersign-web";
    /// <summary>Secret of the web client; empty for a public client, which PKCE protects all the same.</summary>
    public string WebClientSecret { get; set; } = "";
    /// <summary>
    /// How the web client shows its secret: <c>client_secret_basic</c>, or <c>client_secret_post</c> for providers that don't decode a secret with
    /// special characters in a Basic header (RFC 6749, section 2.3.1).
    /// </summary>
    public string WebClientAuthentication { get; set; } = Basic;
    /// <summary>Scopes asked for; <c>openid</c> is always among them.</summary>
    public IList<string> Scopes { get; } = [];
    /// <summary>Claim that holds the groups: a list or one string. A dotted name goes into objects (<c>realm_access.roles</c>).</summary>
    public string GroupsClaim { get; set; } = "groups";
    /// <summary>Claims tried in order for the display name.</summary>
    public IList<string> NameClaims { get; } = [];
    /// <summary>
    /// Name claims whose addresses nobody can choose for themselves at this provider. Without it an address is taken as it stands from <c>email</c> with
    /// <c>email_verified</c> only; from elsewhere it shows a part of the person's id, since a policy could mean somebody else by it.
    /// </summary>
    public IList<string> VouchedNameClaims { get; } = [];

    /// <summary>Scopes to ask for.</summary>
    public IReadOnlyList<string> EffectiveScopes()
        => [.. (Scopes.Count == 0 ? ["openid", "profile", "email", "groups"] : Scopes).Prepend("openid").Distinct(StringComparer.Ordinal)];

    /// <summary>Everything that is wrong with it.</summary>
    public IEnumerable<string> Errors()
    {
        const string Section = "Countersign:Identity:Provider";
        if (!Uri.TryCreate(Issuer, UriKind.Absolute, out var issuer) || !string.IsNullOrEmpty(issuer.Query) || !string.IsNullOrEmpty(issuer.Fragment))
        {
            yield return $"{Section}:Issuer must be the URL of an OpenID provider (or switch on Countersign:DevIssuer:Enabled for development).";
        }
        else if (!ProviderMetadata.IsSafe(issuer))
        {
            yield return $"{Section}:Issuer must be https (http is for loopback only).";
        }

        if (string.IsNullOrEmpty(ClientId) || string.IsNullOrEmpty(WebClientId))
        {
            yield return $"{Section}:ClientId and WebClientId must not be empty.";
        }

        if (WebClientAuthentication is not (Basic or Post))
        {
            yield return $"{Section}:WebClientAuthentication must be {Basic} or {Post}.";
        }

        if (string.IsNullOrEmpty(GroupsClaim))
        {
            yield return $"{Section}:GroupsClaim must not be empty.";
        }
    }
}
