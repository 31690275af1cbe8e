using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Mask;

namespace Countersign.Proxy.Path.Decide;

/// <summary>Step 3 of the path. Never throws: an error while deciding is a deny.</summary>
public interface IDecider
{
    /// <summary>Decides an understood operation under the bundle in force, masking included.</summary>
    (Decision Decision, MaskPlan Masking) Decide(PathSession session, UnderstoodOperation understood, DateTimeOffset now);
}
