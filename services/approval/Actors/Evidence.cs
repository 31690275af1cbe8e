using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Approval.Workflow;

namespace Countersign.Approval.Actors;

/// <summary>What an assertion says of a session.</summary>
/// <param name="Person">Executing person.</param>
/// <param name="Name">Display name.</param>
/// <param name="Connection">Connection that the session is for.</param>
public sealed record SessionEvidence(string Person, string Name, string Connection)
{
    /// <summary>Who may be behind it: owners of the account, who made the credential, who acts in the person's name.</summary>
    public IReadOnlyList<string> Guises { get; init; } = [];
}

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
    /// <param name="assertion">Session assertion, or the requester's own token for the service that asks (ahead of time, and for control requests always).</param>
    /// <param name="cancellation">Ends the wait.</param>
    ValueTask<SpecRequester> RequesterAsync(RequestSpec spec, string assertion, CancellationToken cancellation);

    /// <summary>Who acts on a request.</summary>
    /// <param name="spec">The request.</param>
    /// <param name="token">The person's own access token for approval.</param>
    /// <param name="groups">Whether to ask in which of the request's groups they are; what needs none doesn't depend on policy being there.</param>
    /// <param name="cancellation">Ends the wait.</param>
    ValueTask<Decider> DeciderAsync(RequestSpec spec, string token, bool groups, CancellationToken cancellation);

    /// <summary>What the grant of an extension says. It counts only with approval's own signature.</summary>
    ValueTask<ExtensionGrant> ExtensionAsync(string grant, CancellationToken cancellation);

    /// <summary>Those of the persons who may approve no longer (unknown, disabled, not enrolled, or the requester under another account), and the requester where disabled.</summary>
    ValueTask<IReadOnlyList<string>> GoneAsync(RequestSpec spec, IEnumerable<string> approvers, CancellationToken cancellation);

    /// <summary>The person of an access token for approval.</summary>
    ValueTask<string> PersonAsync(string token, CancellationToken cancellation);

    /// <summary>The service of a service token for approval.</summary>
    ValueTask<string> ServiceAsync(string token, CancellationToken cancellation);

    /// <summary>Makes sure that approval itself has sealed a spec.</summary>
    ValueTask CheckSealAsync(RequestSpec spec, string seal, CancellationToken cancellation);

    /// <summary>Makes sure that approval itself has written a document.</summary>
    /// <param name="hash">See <see cref="SealedHost{TDocument}"/>.</param>
    /// <param name="seal">Seal of the document; null where it has none.</param>
    /// <param name="cancellation">Ends the wait.</param>
    ValueTask CheckDocumentAsync(string hash, string? seal, CancellationToken cancellation);

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

/// <summary>Signs with approval's key: the grant of a request that has just become approved, what is to be opened, and what is written down.</summary>
public interface IGrantSigner
{
    /// <summary>Compact JWS over the hash of a document.</summary>
    string SealDocument(string hash);


    /// <summary>Compact JWS over <see cref="SpecHash"/>.</summary>
    string Seal(RequestSpec spec);

    /// <summary>Compact JWS.</summary>
    string Sign(RequestDocument document);
}

/// <summary>What a seal is over.</summary>
public static class SpecHash
{
    /// <summary>Lower-case hex of the SHA-256 of the spec as it is persisted.</summary>
    public static string Compute(RequestSpec spec) => Convert.ToHexStringLower(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(spec, WorkflowJson.Options)));
}
