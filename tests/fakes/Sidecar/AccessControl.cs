using YamlDotNet.Serialization;
using YamlDotNet.Serialization.NamingConventions;

namespace Countersign.Fakes.Sidecar;

/// <summary>What of a <c>Configuration</c> (dapr.io/v1alpha1) a sidecar enforces.</summary>
internal sealed class SidecarRules
{
    private SpecYaml Spec { get; init; } = new();

    private Dictionary<string, PathNode> Operations { get; } = new(StringComparer.Ordinal);

    public static SidecarRules None { get; } = new();

    public static SidecarRules Parse(string? yaml)
    {
        if (yaml is null)
        {
            return None;
        }

        var reader = new DeserializerBuilder().WithNamingConvention(CamelCaseNamingConvention.Instance).IgnoreUnmatchedProperties().Build();
        var rules = new SidecarRules { Spec = reader.Deserialize<DocumentYaml>(yaml).Spec };
        foreach (var policy in rules.Spec.AccessControl?.Policies ?? [])
        {
            var root = new PathNode("/");
            foreach (var operation in policy.Operations)
            {
                root.Add(operation);
            }

            rules.Operations[policy.AppId] = root;
        }

        return rules;
    }

    /// <summary>
    /// Whether a caller may invoke a path, as the list of this app says. Only service invocation asks: calls of actors never do.
    /// </summary>
    /// <param name="caller">App id of the caller.</param>
    /// <param name="trustDomain">Trust domain in the caller's own configuration.</param>
    /// <param name="path">Path that is invoked.</param>
    /// <param name="verb">HTTP verb.</param>
    public bool MayInvoke(string caller, string trustDomain, string path, string verb)
    {
        if (Spec.AccessControl is not { } list || (list.TrustDomain.Length == 0 && list.DefaultAction.Length == 0 && list.Policies.Count == 0))
        {
            return true;
        }

        var action = list.DefaultAction.Length > 0 ? list.DefaultAction : list.Policies.Count > 0 ? "deny" : "allow";
        var policy = list.Policies.LastOrDefault(each => each.AppId == caller && each.Namespace.Length > 0 && each.TrustDomain.Length > 0);
        if (policy is null || policy.TrustDomain != trustDomain || policy.Namespace != "default")
        {
            return Allows(action);
        }

        action = policy.DefaultAction.Length > 0 ? policy.DefaultAction : action;
        if (Operations[caller].Find(("/" + path.TrimStart('/')).ToLowerInvariant()) is { } operation
            && (operation.HttpVerb.Contains(verb) || operation.HttpVerb.Contains("*")))
        {
            action = operation.Action;
        }

        return Allows(action);
    }

    public string TrustDomain => Spec.AccessControl?.TrustDomain is { Length: > 0 } domain ? domain : "public";

    public bool MayReadSecret(string store, string name)
    {
        var scope = Spec.Secrets?.Scopes.FirstOrDefault(each => each.StoreName == store);
        return scope is null
            || (!scope.DeniedSecrets.Contains(name) && (scope.AllowedSecrets.Contains(name) || (scope.AllowedSecrets.Count == 0 && !scope.DefaultAccess.Equals("deny", StringComparison.OrdinalIgnoreCase))));
    }

    /// <summary>The allow-list of the sidecar's own API; groups are <c>v1.0</c> over HTTP and <c>v1</c> over gRPC.</summary>
    public bool Serves(string group, string protocol)
    {
        var allowed = Spec.Api?.Allowed.Where(each => each.Protocol == protocol).ToList();
        return Spec.Api is null || Spec.Api.Allowed.Count == 0 || allowed!.Any(each => each.Name == group);
    }

    private static bool Allows(string action) => action.Equals("allow", StringComparison.OrdinalIgnoreCase);

    /// <summary>
    /// The tree of paths. Its surprises are daprd's: the first node on the way that has an operation answers for everything below it, <c>*</c> alone stands
    /// for one last part only (also for none), and within a path only <c>**</c> or a name with a star in it stand for a part.
    /// </summary>
    private sealed class PathNode(string part)
    {
        private readonly List<PathNode> _below = [];

        private OperationYaml? Operation { get; set; }

        public void Add(OperationYaml operation)
        {
            var parts = ("/" + operation.Name.TrimStart('/')).ToLowerInvariant().Split('/')[1..];
            var node = this;
            for (var i = 0; i < parts.Length; i++)
            {
                var next = node._below.Find(each => each.Part == parts[i]);
                if (next is null)
                {
                    node._below.Add(next = new PathNode(parts[i]));
                }

                node = next;
            }

            node.Operation ??= operation;
        }

        public OperationYaml? Find(string path)
        {
            var parts = path.Split('/')[1..];
            PathNode? node = this;
            for (var i = 0; i < parts.Length; i++)
            {
                var last = i == parts.Length - 1;
                if ((node = node!.Next(parts[i], last)) is null)
                {
                    return null;
                }

                if (node!.Operation is not null)
                {
                    return node.Operation;
                }

                if (last)
                {
                    return node!.Next("*", last)?.Operation;
                }
            }

            return null;
        }

        private string Part { get; } = part;

        private PathNode? Next(string wanted, bool last) =>
            _below.Find(each => each.Part == wanted || (each.Part == "*" ? last : each.Part == "**" || Matches(wanted, each.Part)));

        // A star stands for any number of characters.
        private static bool Matches(string text, string pattern)
        {
            if (!pattern.Contains('*', StringComparison.Ordinal))
            {
                return false;
            }

            return System.Text.RegularExpressions.Regex.IsMatch(
                text, "^" + System.Text.RegularExpressions.Regex.Escape(pattern).Replace("\\*", ".*", StringComparison.Ordinal) + "$");
        }
    }

    // Shapes of the YAML.
    private sealed class DocumentYaml
    {
        public SpecYaml Spec { get; set; } = new();
    }

    private sealed class SpecYaml
    {
        public AccessControlYaml? AccessControl { get; set; }
        public SecretsYaml? Secrets { get; set; }
        public ApiYaml? Api { get; set; }
    }

    private sealed class AccessControlYaml
    {
        public string DefaultAction { get; set; } = "";
        public string TrustDomain { get; set; } = "";
        public List<PolicyYaml> Policies { get; set; } = [];
    }

    private sealed class PolicyYaml
    {
        public string AppId { get; set; } = "";
        public string DefaultAction { get; set; } = "";
        public string TrustDomain { get; set; } = "";
        public string Namespace { get; set; } = "";
        public List<OperationYaml> Operations { get; set; } = [];
    }

    private sealed class OperationYaml
    {
        public string Name { get; set; } = "";
        public List<string> HttpVerb { get; set; } = [];
        public string Action { get; set; } = "";
    }

    private sealed class SecretsYaml
    {
        public List<SecretScopeYaml> Scopes { get; set; } = [];
    }

    private sealed class SecretScopeYaml
    {
        public string StoreName { get; set; } = "";
        public string DefaultAccess { get; set; } = "";
        public List<string> AllowedSecrets { get; set; } = [];
        public List<string> DeniedSecrets { get; set; } = [];
    }

    private sealed class ApiYaml
    {
        public List<ApiRuleYaml> Allowed { get; set; } = [];
    }

    private sealed class ApiRuleYaml
    {
        public string Name { get; set; } = "";
        public string Version { get; set; } = "";
        public string Protocol { get; set; } = "http";
    }
}
