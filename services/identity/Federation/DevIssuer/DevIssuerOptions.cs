namespace Countersign.Identity.Federation.DevIssuer;

/// <summary>The embedded development issuer. Section <c>Countersign:DevIssuer</c>.</summary>
public sealed class DevIssuerOptions
{
    /// <summary>Whether it runs.</summary>
    public bool Enabled { get; set; }
    /// <summary>Lets it run outside of the environment Development. For demonstrations; never where anything is real.</summary>
    public bool AllowOutsideDevelopment { get; set; }
    /// <summary>Who can log in.</summary>
    public IList<DevUser> Users { get; } = [];
    /// <summary>Seconds between two polls of a device login.</summary>
    public int DevicePollSeconds { get; set; } = 1;

    /// <summary>Everything that is wrong with it.</summary>
    public IEnumerable<string> Errors(bool isDevelopment, string baseUrl)
    {
        if (!Enabled)
        {
            yield break;
        }

        if (!isDevelopment && !AllowOutsideDevelopment)
        {
            yield return "Countersign:DevIssuer:Enabled is for the environment Development; elsewhere Countersign:DevIssuer:AllowOutsideDevelopment must say so too.";
        }

        if (!Uri.TryCreate(baseUrl, UriKind.Absolute, out _))
        {
            yield return "Countersign:DevIssuer needs Countersign:BaseUrl: the issuer's name is part of every token.";
        }

        if (DevicePollSeconds is < 1 or > 60)
        {
            yield return "Countersign:DevIssuer:DevicePollSeconds must lie between 1 and 60.";
        }

        foreach (var (user, index) in Users.Select((user, index) => (user, index)))
        {
            if (string.IsNullOrWhiteSpace(user.Name) || user.Name.Length > 64 || string.IsNullOrEmpty(user.Password))
            {
                yield return $"Countersign:DevIssuer:Users:{index} needs Name (at most 64 characters) and Password.";
            }
        }

        if (Users.GroupBy(user => user.Name, StringComparer.OrdinalIgnoreCase).Any(group => group.Count() > 1))
        {
            yield return "Countersign:DevIssuer:Users has the same Name twice.";
        }
    }
}

/// <summary>Somebody who can log in at the development issuer.</summary>
public sealed class DevUser
{
    /// <summary>Login name, and subject of the tokens.</summary>
    public string Name { get; set; } = "";
    /// <summary>E-mail address; <c>{name}@example.test</c> where empty.</summary>
    public string Email { get; set; } = "";
    /// <summary>Password; only its hash is kept in memory.</summary>
    public string Password { get; set; } = "";
    /// <summary>Groups.</summary>
    public IList<string> Groups { get; } = [];
}
