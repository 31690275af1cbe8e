namespace Countersign.Approval.Workflow;

/// <summary>Who may decide a request (invariant I2).</summary>
public static class Eligibility
{
    /// <summary>Clocks of identity and approval may differ by this much.</summary>
    private static readonly TimeSpan Leeway = TimeSpan.FromSeconds(5);

    /// <summary>Why this person may not decide it; null where they may. There is no exemption for anybody.</summary>
    public static Refusal? Check(RequestDocument document, Decider by, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(document);
        ArgumentNullException.ThrowIfNull(by);
        if (CheckOther(document, by) is { } refusal)
        {
            return refusal;
        }

        var required = document.Spec.AllOf.SelectMany(requirement => requirement.AnyOf);
        return required.Any(group => by.Groups.Contains(group, StringComparer.Ordinal))
            ? Assure(document.Spec.Assurance, by, now)
            : new Refusal(
                RefusalCodes.NotInGroup,
                $"You are in none of the groups that may decide this: {string.Join(", ", required.Distinct(StringComparer.Ordinal))}.");
    }

    /// <summary>Why this person may not review it: whoever is enrolled may, but not the requester in any guise.</summary>
    public static Refusal? CheckOther(RequestDocument document, Decider by)
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

        return by.Enrolled
            ? null
            : new Refusal(RefusalCodes.NotEnrolled, "You are not enrolled as approver: somebody who is has to admit you first.");
    }

    /// <summary>Why this login is not sure enough; null where it is.</summary>
    public static Refusal? Assure(SpecAssurance? assurance, Decider by, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(by);
        if (assurance is null)
        {
            return null;
        }

        var reasons = new List<string>();
        var missing = assurance.Amr.Where(method => !by.Amr.Contains(method, StringComparer.Ordinal)).ToList();
        if (missing.Count > 0)
        {
            reasons.Add($"it was made without {string.Join(" and ", missing)}");
        }

        if (assurance.MaxAge is { } oldest && now - by.AuthenticatedAt > oldest + Leeway)
        {
            reasons.Add($"it is older than {oldest.TotalSeconds:0} s");
        }

        return reasons.Count == 0
            ? null
            : new Refusal(
                RefusalCodes.AssuranceTooLow,
                $"Your login is not sure enough for this: {string.Join(", and ", reasons)}. Log in again{(assurance.Amr.Count > 0 ? $" with {string.Join(" and ", assurance.Amr)}" : "")}, then decide.")
            {
                Assurance = assurance,
            };
    }

    /// <summary>Whether approval under one assurance holds where another one is asked for.</summary>
    public static bool Covers(SpecAssurance? held, SpecAssurance? asked) =>
        asked is null
        || ((asked.MaxAge is null || held?.MaxAge <= asked.MaxAge) && asked.Amr.All(method => held?.Amr.Contains(method, StringComparer.Ordinal) == true));

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
