namespace Countersign.Deploy.Tests.Support;

/// <summary>
/// What a sidecar's access control lets through, as Dapr 1.18 decides it. Operations are segments in a tree, and what surprises is kept: an
/// operation that ends in a name also covers everything below it; <c>/*</c> matches one segment, at the end only, or none if nothing else
/// stands there; <c>/**</c> in the middle matches one segment; of several nodes the first that was written wins.
/// </summary>
internal sealed class SidecarAccess
{
    private readonly AccessControl _control;

    public SidecarAccess(AccessControl control) => _control = control;

    /// <summary>Whether this caller's request gets through the sidecar of the service.</summary>
    public bool Allows(string caller, string method, string path)
    {
        var policy = _control.Policies.FirstOrDefault(each => each.AppId == caller);
        if (policy is null || policy.TrustDomain != _control.TrustDomain || policy.Namespace != "default")
        {
            return IsAllow(_control.DefaultAction);
        }

        var root = new Node("/");
        foreach (var operation in policy.Operations)
        {
            root.Add(Segments(operation.Name), operation);
        }

        return root.Search(Segments(path)) is { } found && found.HttpVerb.Any(verb => verb == method || verb == "*")
            ? IsAllow(found.Action)
            : IsAllow(policy.DefaultAction);
    }

    private static bool IsAllow(string action) => action.Equals("allow", StringComparison.OrdinalIgnoreCase);

    private static string[] Segments(string path) => ("/" + path.TrimStart('/')).ToLowerInvariant().Split('/')[1..];

    private sealed class Node(string segment)
    {
        private readonly List<Node> _children = [];
        private Operation? _operation;

        public void Add(string[] segments, Operation operation)
        {
            var node = this;
            foreach (var each in segments)
            {
                var child = node._children.Find(known => known.Is(each));
                if (child is null)
                {
                    child = new Node(each);
                    node._children.Add(child);
                }

                node = child;
            }

            node._operation ??= operation;
        }

        public Operation? Search(string[] segments)
        {
            var node = this;
            for (var index = 0; index < segments.Length; index++)
            {
                var last = index == segments.Length - 1;
                node = node.Child(segments[index], last);
                if (node is null)
                {
                    return null;
                }

                if (node._operation is not null && (last || !node.Is("*")))
                {
                    return node._operation;
                }

                if (last && node._operation is null)
                {
                    return node.Child("*", last)?._operation;
                }
            }

            return null;
        }

        private bool Is(string other) => segment == other;

        private Node? Child(string wanted, bool last)
        {
            foreach (var child in _children)
            {
                if (child.Is(wanted) || child.Is("**") || (child.Is("*") && last))
                {
                    return child;
                }

                if (!child.Is("*") && Matches(wanted, child.Pattern))
                {
                    return child;
                }
            }

            return null;
        }

        private string Pattern => segment;

        private static bool Matches(string text, string pattern) =>
            pattern.Contains('*', StringComparison.Ordinal) && System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(pattern, text, ignoreCase: false);
    }
}
