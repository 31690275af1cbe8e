namespace Countersign.Cli.Server;

/// <summary><c>GET /identity/v1/login</c>: which provider logs people in.</summary>
/// <param name="Issuer">Issuer.</param>
/// <param name="ClientId">Public client.</param>
/// <param name="Scopes">Scopes to ask for.</param>
/// <param name="DevelopmentOnly">True where it is the development issuer.</param>
internal sealed record LoginProvider(string Issuer, string ClientId, IReadOnlyList<string> Scopes, bool DevelopmentOnly = false);

/// <summary><c>POST /identity/v1/tokens</c>.</summary>
internal sealed record TokenRequest(string Grant, string Audience, string? IdToken = null, string? Nonce = null, string? RefreshToken = null)
{
    /// <summary>Never prints a token.</summary>
    public override string ToString() => $"TokenRequest {{ {Grant} for {Audience} }}";
}

/// <summary>Answer to <see cref="TokenRequest"/>.</summary>
internal sealed record TokenResponse(string AccessToken, int ExpiresIn, string? RefreshToken)
{
    /// <summary>Never prints a token.</summary>
    public override string ToString() => $"TokenResponse {{ {ExpiresIn} s }}";
}

/// <summary><c>POST /identity/v1/bootstrap</c>.</summary>
internal sealed record BootstrapRequest(string Token)
{
    /// <summary>Never prints the token.</summary>
    public override string ToString() => "BootstrapRequest";
}

/// <summary>Answer to whatever asks for a change of persons: it waits for a second person.</summary>
/// <param name="RequestId">Approval request.</param>
/// <param name="Digest">Digest of the change document.</param>
/// <param name="Text">The readable change.</param>
/// <param name="Link">Page of the request.</param>
internal sealed record PersonChange(string RequestId, string Digest, string Text, string Link);
