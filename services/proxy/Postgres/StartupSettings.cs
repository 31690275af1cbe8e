using Countersign.Proxy.Postgres.Messages;
using Countersign.Proxy.Postgres.Operations;

namespace Countersign.Proxy.Postgres;

/// <summary>Startup parameters: an allow-list. What isn't on it is refused, so that nobody believes that a setting holds which doesn't.</summary>
internal sealed class StartupSettings
{
    private static readonly HashSet<string> Forwarded = new(StringComparer.OrdinalIgnoreCase)
    {
        "DateStyle", "TimeZone", "IntervalStyle", "extra_float_digits", "bytea_output", "statement_timeout", "lock_timeout", "geqo",
        "idle_in_transaction_session_timeout", "idle_session_timeout", "client_min_messages",
    };

    private static readonly HashSet<string> Reported = new(StringComparer.OrdinalIgnoreCase)
    {
        "server_version", "server_encoding", "client_encoding", "application_name", "default_transaction_read_only", "in_hot_standby", "is_superuser",
        "session_authorization", "DateStyle", "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "scram_iterations",
        "search_path",
    };

    private readonly Dictionary<string, string> _settings = new(StringComparer.OrdinalIgnoreCase);
    private readonly List<string> _unknownOptions = [];

    /// <summary>User name: the access credential's.</summary>
    public string User { get; private set; } = "";

    /// <summary>Connection.</summary>
    public string Connection { get; private set; } = "";

    /// <summary>Database at the target; null where the client names none.</summary>
    public string? Database { get; private set; }

    /// <summary>application_name.</summary>
    public string ApplicationName { get; private set; } = "";

    /// <summary>Settings to set at the target.</summary>
    public IReadOnlyDictionary<string, string> Settings => _settings;

    /// <summary>Protocol options (<c>_pq_.…</c>), none of which the gateway knows.</summary>
    public IReadOnlyList<string> UnknownOptions => _unknownOptions;

    /// <summary>Whether a ParameterStatus may be shown to a client.</summary>
    public static bool IsReported(string name) => Reported.Contains(name);

    /// <summary>Reads the parameters of a startup packet.</summary>
    /// <exception cref="StartupRefusedException">Something in it isn't allowed; the message is for the person.</exception>
    public static StartupSettings Read(StartupPacket packet)
    {
        var settings = new StartupSettings();
        string? database = null;
        foreach (var (name, value) in packet.Parameters)
        {
            switch (name)
            {
                case "user":
                    settings.User = value;
                    break;
                case "database":
                    database = value;
                    break;
                case "options":
                    settings.ReadOptions(value);
                    break;
                case "replication":
                    if (value.ToLowerInvariant() is not ("false" or "off" or "no" or "0"))
                    {
                        throw new StartupRefusedException("0A000", "Replication connections can't be made through Countersign.");
                    }

                    break;
                case var option when option.StartsWith("_pq_.", StringComparison.Ordinal):
                    settings._unknownOptions.Add(option);
                    break;
                default:
                    settings.Set(name, value);
                    break;
            }
        }

        if (settings.User.Length == 0)
        {
            throw new StartupRefusedException("28000", "No user name was given: it names the access credential ('countersign connect NAME' makes one).");
        }

        var target = string.IsNullOrEmpty(database) ? settings.User : database;
        var slash = target.IndexOf('/');
        settings.Connection = slash < 0 ? target : target[..slash];
        settings.Database = slash < 0 || slash == target.Length - 1 ? null : target[(slash + 1)..];
        if (settings.Connection.Length is 0 or > 128 || settings.Database?.Length > 63 || settings.User.Length > 128)
        {
            throw new StartupRefusedException("3D000", "The database name must be CONNECTION or CONNECTION/DATABASE.");
        }

        return settings;
    }

    private void Set(string name, string value)
    {
        if (name.Equals("application_name", StringComparison.OrdinalIgnoreCase))
        {
            ApplicationName = value.Length > 64 ? value[..64] : value;
        }
        else if (name.Equals(ForcedSettings.ClientEncoding, StringComparison.OrdinalIgnoreCase))
        {
            if (!ForcedSettings.IsKept(ForcedSettings.ClientEncoding, value) && !value.Equals("auto", StringComparison.OrdinalIgnoreCase))
            {
                throw new StartupRefusedException("0A000", $"client_encoding must be UTF8, not '{value}': Countersign decides on the text that it reads.", "Set PGCLIENTENCODING=UTF8 (psql takes SQL_ASCII from a terminal without a UTF-8 locale).");
            }
        }
        else if (name.Equals(ForcedSettings.StandardConformingStrings, StringComparison.OrdinalIgnoreCase))
        {
            if (!ForcedSettings.IsKept(ForcedSettings.StandardConformingStrings, value))
            {
                throw new StartupRefusedException("0A000", "standard_conforming_strings must be on.");
            }
        }
        else if (Forwarded.Contains(name))
        {
            _settings[name] = value;
        }
        else
        {
            throw new StartupRefusedException("42501", $"The startup parameter '{name}' is not allowed.", "Use SET after connecting, so that it is decided and recorded.");
        }
    }

    /// <summary>The <c>options</c> parameter: switches of a server's command line, blanks escaped by a backslash. Only <c>-c name=value</c> and <c>--name=value</c> are taken.</summary>
    private void ReadOptions(string options)
    {
        var words = Split(options);
        for (var index = 0; index < words.Count; index++)
        {
            var word = words[index];
            string assignment;
            if (word == "-c" && index + 1 < words.Count)
            {
                assignment = words[++index];
            }
            else if (word.StartsWith("-c", StringComparison.Ordinal) && word.Length > 2)
            {
                assignment = word[2..];
            }
            else if (word.StartsWith("--", StringComparison.Ordinal) && word.Length > 2)
            {
                assignment = word[2..];
            }
            else
            {
                throw new StartupRefusedException("42501", $"The startup option '{word}' is not allowed.", "Only -c name=value is.");
            }

            var equals = assignment.IndexOf('=');
            if (equals <= 0)
            {
                throw new StartupRefusedException("42601", $"The startup option '{assignment}' has no value.");
            }

            // As the server does: dashes in the name stand for underscores.
            Set(assignment[..equals].Replace('-', '_'), assignment[(equals + 1)..]);
        }
    }

    private static List<string> Split(string options)
    {
        var words = new List<string>();
        var word = new System.Text.StringBuilder();
        var any = false;
        for (var index = 0; index < options.Length; index++)
        {
            var each = options[index];
            if (each == '\\' && index + 1 < options.Length)
            {
                word.Append(options[++index]);
                any = true;
            }
            else if (each is ' ' or '\t' or '\n' or '\r' or '\f' or '\v')
            {
                if (any)
                {
                    words.Add(word.ToString());
                    word.Clear();
                    any = false;
                }
            }
            else
            {
                word.Append(each);
                any = true;
            }
        }

        if (any)
        {
            words.Add(word.ToString());
        }

        return words;
    }
}

/// <summary>A client may not come in. The message is for the person.</summary>
internal sealed class StartupRefusedException(string code, string message, string hint = "") : Exception(message)
{
    public string Code { get; } = code;

    public string Hint { get; } = hint;
}
