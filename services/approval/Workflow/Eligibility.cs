namespace Countersign.Approval.Workflow;

/// <summary>Who may decide a request (invariant I2).</summary>
public static class Eligibility
{
    /// <summary>Why this person may not decide it; null where they may. There is no exemption for anybody.</summary>
    public static Refusal? Check(RequestDocument document, Decider by)
    {
        ArgumentNullException.ThrowIfNull(document);
        ArgumentNullException.ThrowIfNull(by);
        if (by.Disabled)
        {
            return new Refusal(RefusalCodes.PersonDisabled, "Your account is disabled.");
        }

        if (SelfApproval(document.Spec.Requester, by) is { } self)
        {
            return self;
        }

        if (!by.Enrolled)
        {
            return new Refusal(RefusalCodes.NotEnrolled, "You are not enrolled as approver: somebody who is has to admit you first.");
        }

        var required = document.Spec.AllOf.SelectMany(requirement => requirement.AnyOf);
        return required.Any(group => by.Groups.Contains(group, StringComparer.Ordinal))
            ? null
            : new Refusal(
                RefusalCodes.NotInGroup,
                $"You are in none of the groups that may decide this: {string.Join(", ", required.Distinct(StringComparer.Ordinal))}.");
    }

    private static Refusal? SelfApproval(SpecRequester requester, Decider by)
    {
        const string Rule = "Somebody else has to decide it; administrators are no exception.";
        if (by.Person == requester.Person)
        {
            return new Refusal(RefusalCodes.SelfApproval, $"You asked for this yourself. {Rule}");
        }

        var linked = by.SameAs.Contains(requester.Person, StringComparer.Ordinal)
            || requester.SameAs.Contains(by.Person, StringComparer.Ordinal)
            || by.RequesterSameAs.Contains(by.Person, StringComparer.Ordinal);
        return linked
            ? new Refusal(
                RefusalCodes.SelfApproval,
                $"{requester.Name} asked for this, and that is you under another account, or a service account that you or your team own. {Rule}")
            : null;
    }
}
