using Countersign.Approval.Workflow;

namespace Countersign.Approval.Actors;

/// <summary>What an assertion says of a session.</summary>
/// <param name="Person">Executing person.</param>
/// <param name="Name">Display name.</param>
/// <param name="Connection">Connection that the session is for.</param>
public sealed record SessionEvidence(string Person, string Name, string Connection);

/// <summary>
/// Turns tokens into facts, at the time of the command: verifies them with identity's keys, and asks identity and policy how the person stands now.
/// </summary>
/// <remarks>
/// All throw <see cref="EvidenceRejectedException"/> where evidence isn't good, and <see cref="Platform.Ports.PortUnavailableException"/> where somebody who must be asked can't be.
/// </remarks>
public interface IEvidence
{
    /// <summary>Who asks.</summary>
    /// <param name="spec">What is asked for.</param>
    /// <param name="assertion">Session assertion, or the requester's own token for the service that asks.</param>
    /// <param name="cancellation">Ends the wait.</param>
    ValueTask<SpecRequester> RequesterAsync(RequestSpec spec, string assertion, CancellationToken cancellation);

    /// <summary>Who decides, with the groups of the request that they are in.</summary>
    ValueTask<Decider> DeciderAsync(RequestSpec spec, string token, CancellationToken cancellation);

    /// <summary>Those of the persons who may approve no longer: unknown, disabled, not enrolled, or the requester under another account.</summary>
    ValueTask<IReadOnlyList<string>> GoneAsync(RequestSpec spec, IEnumerable<string> approvers, CancellationToken cancellation);

    /// <summary>The person of an access token for approval.</summary>
    ValueTask<string> PersonAsync(string token, CancellationToken cancellation);

    /// <summary>The session of a session assertion.</summary>
    ValueTask<SessionEvidence> SessionAsync(string assertion, CancellationToken cancellation);
}

/// <summary>Evidence that must not be used. The message may be shown.</summary>
public sealed class EvidenceRejectedException : Exception
{
    /// <summary>Says why.</summary>
    public EvidenceRejectedException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Says why.</summary>
    public EvidenceRejectedException(string message)
        : base(message)
    {
    }

    /// <summary>Without a message.</summary>
    public EvidenceRejectedException()
    {
    }
}

/// <summary>Signs the grant of a request that has just become approved.</summary>
public interface IGrantSigner
{
    /// <summary>Compact JWS.</summary>
    string Sign(RequestDocument document);
}
