namespace Countersign.Identity.Host;

/// <summary>Where a login in a browser may lead: rooted paths of this host, and pages of allowed origins. Everything else would be an open redirect.</summary>
public sealed class ReturnTargets
{
    private const int MaxLength = 2048;
    private readonly Uri _own;
    private readonly HashSet<string> _origins;

    /// <summary>With the origins of the options.</summary>
    public ReturnTargets(IdentityOptions options)
    {
        _own = new Uri(options.BaseUrl);
        _origins = [.. options.ReturnOrigins.Append(options.BaseUrl).Select(origin => Origin(new Uri(origin)))];
    }

    /// <summary>The absolute address of a target, or null where it isn't allowed.</summary>
    public Uri? Find(string? target)
    {
        // Browsers read backslashes as slashes and drop tabs and line breaks: "/\evil.example" would lead away.
        if (string.IsNullOrEmpty(target) || target.Length > MaxLength || target.Any(c => c is '\\' or <= ' ' or > '~'))
        {
            return null;
        }

        if (target[0] == '/')
        {
            return target.StartsWith("//", StringComparison.Ordinal) ? null : new Uri(_own, target);
        }

        return Uri.TryCreate(target, UriKind.Absolute, out var uri) && uri.UserInfo.Length == 0 && _origins.Contains(Origin(uri)) ? uri : null;
    }

    private static string Origin(Uri uri) => uri.GetLeftPart(UriPartial.Authority).ToLowerInvariant();
}
