using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;

namespace Countersign.Policy.Host;

/// <summary>
/// Who may read what is enforced: enrolled persons, since they decide about it, and everybody what they asked for themselves. What a policy lets through and whom
/// it asks tells an intruder where to go. Identity is asked now: a token's word may be 15 minutes old.
/// </summary>
internal sealed class Readers(ServiceCalls services)
{
    /// <exception cref="ProblemException">403: they are not enrolled.</exception>
    public async ValueTask RequireEnrolledAsync(AccessTokenClaims person, CancellationToken cancellation)
    {
        if (!await IsEnrolledAsync(person, cancellation))
        {
            throw new ProblemException(403, "not-enrolled", "Only enrolled persons may read what is enforced. Ask for your own operations with: countersign why.");
        }
    }

    /// <summary>Whether a person may see what somebody asked for.</summary>
    public async ValueTask<bool> MaySeeAsync(AccessTokenClaims person, string requester, CancellationToken cancellation) =>
        person.Person == requester || await IsEnrolledAsync(person, cancellation);

    private async ValueTask<bool> IsEnrolledAsync(AccessTokenClaims person, CancellationToken cancellation) =>
        await services.StandingAsync(person.Person, cancellation) is { Enrolled: true, Disabled: false };
}
