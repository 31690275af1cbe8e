using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Bundles;

/// <summary>Who must agree to a change of what is enforced, and of who counts as whom: <c>control_approval</c> of the settings in force, or one enrolled person.</summary>
/// <param name="Version">Version of the bundle that says so; 0 for none.</param>
/// <param name="AllOf">All of these.</param>
/// <param name="Assurance">How approvers must have logged in; null where any login will do.</param>
public sealed record ControlTerms(long Version, IReadOnlyList<ApproverRequirement> AllOf, ApproverAssurance? Assurance)
{
    /// <summary>What holds before there is a bundle: any other enrolled person.</summary>
    public static ControlTerms Default { get; } = new(0, [new ApproverRequirement([PolicyChecker.Enrolled], 1)], null);

    /// <summary>How long a request may wait; null where the settings don't say.</summary>
    public TimeSpan? Timeout { get; init; }
    /// <summary>How long the grant lasts; null where the settings don't say.</summary>
    public TimeSpan? GrantLifetime { get; init; }
    /// <summary>Whether a reason is needed.</summary>
    public bool ReasonRequired { get; init; }

    /// <summary>What a bundle says.</summary>
    /// <exception cref="PolicyFormatException">Its documents can't be read.</exception>
    public static ControlTerms Of(Bundle bundle)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        return Of(bundle.Version, PolicyDecoder.Decode(bundle.Documents));
    }

    /// <summary>What decoded documents say.</summary>
    public static ControlTerms Of(long version, PolicySet documents)
    {
        ArgumentNullException.ThrowIfNull(documents);
        var approval = documents.Settings.Select(settings => settings.ControlApproval).FirstOrDefault(each => each is not null);
        return approval is null
            ? Default with { Version = version }
            : new ControlTerms(version, [.. approval.AllOf.Select(part => new ApproverRequirement([.. part.AnyOf.Select(group => group.Value)], part.Quorum))], approval.Assurance)
            {
                Timeout = approval.Timeout,
                GrantLifetime = approval.GrantLifetime,
                ReasonRequired = approval.ReasonRequired,
            };
    }

    /// <summary>What to ask of approval.</summary>
    public IReadOnlyList<RequestRequirement> Requirements => [.. AllOf.Select(part => new RequestRequirement(part.AnyOf, part.Quorum))];

    /// <summary>What to ask of approval for the approvers' logins.</summary>
    public RequestAssurance? RequestAssurance => Assurance is { } login ? new RequestAssurance((int?)login.MaxAge?.TotalSeconds, login.Amr) : null;

    /// <summary>Whether these follow from what the approvers of a grant had to meet.</summary>
    public bool AreMetBy(GrantClaims grant)
    {
        ArgumentNullException.ThrowIfNull(grant);
        var held = grant.Assurance is { } login ? new ApproverAssurance(login.MaxAgeSeconds is { } age ? TimeSpan.FromSeconds(age) : null, login.Amr) : null;
        return Terms.NoStricterThan(AllOf, [.. grant.AllOf.Select(part => new ApproverRequirement(part.AnyOf, part.Quorum))]) && Assurance?.FollowsFrom(held) != false;
    }
}
