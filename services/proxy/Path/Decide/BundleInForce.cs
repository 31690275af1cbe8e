using Countersign.Policy.Contracts;
using Countersign.Policy.Engine;

namespace Countersign.Proxy.Path.Decide;

/// <summary>Gives the bundle that is enforced now.</summary>
public interface IBundleSource
{
    /// <summary>The bundle, or null before the first one has come: then everything is denied. Swapped atomically.</summary>
    BundleInForce? Current { get; }
}

/// <summary>A bundle that was verified, compiled.</summary>
/// <param name="Engine">Its rules.</param>
/// <param name="Connections">Its connections by name.</param>
public sealed record BundleInForce(PolicyEngine Engine, IReadOnlyDictionary<string, Connection> Connections)
{
    /// <summary>Its version.</summary>
    public long Version => Engine.Version;
}
