using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;

namespace Countersign.Approval.Actors;

/// <summary>
/// Seals what a host writes, and reads nothing that approval did not write for this workflow: whoever can write the state store, which under Dapr is the sidecar's,
/// could make a decision that nobody made. An older document of the same workflow verifies; that one comes back is found where it would matter, at the proxy
/// that has already run it.
/// </summary>
/// <remarks>
/// The hash is over the type, the id and the document as this version writes it, without its seal: a store may format JSON as it likes.
/// </remarks>
internal sealed class SealedHost<TDocument>(string type, string id, IRunnerHost<TDocument> host, RequestParts parts) : IRunnerHost<TDocument>
    where TDocument : class, ISealedDocument<TDocument>
{
    // One turn reads its document several times.
    private (string Hash, string Seal)? _known;

    public async ValueTask<Stored<TDocument>?> LoadAsync(CancellationToken cancellation)
    {
        if (await host.LoadAsync(cancellation) is not { } stored)
        {
            return null;
        }

        var (hash, seal) = (Hash(stored.Document), stored.Document.Seal);
        if (seal is null || _known != (hash, seal))
        {
            try
            {
                await parts.Evidence.CheckDocumentAsync(hash, seal, cancellation);
            }
            catch (EvidenceRejectedException error)
            {
                await parts.Reports.ForeignDocumentAsync(id);
                throw new PortUnavailableException($"what the store has of {id} was not written by approval", error);
            }

            _known = (hash, seal!);
        }

        return stored;
    }

    public ValueTask<bool> SaveAsync(TDocument document, string? etag, CancellationToken cancellation)
    {
        var hash = Hash(document);
        var seal = parts.Signer.SealDocument(hash);
        _known = (hash, seal);
        return host.SaveAsync(document.WithSeal(seal), etag, cancellation);
    }

    public ValueTask WakeAtAsync(DateTimeOffset when, CancellationToken cancellation) => host.WakeAtAsync(when, cancellation);

    public ValueTask CancelWakeAsync(CancellationToken cancellation) => host.CancelWakeAsync(cancellation);

    // Types and ids have no line breaks.
    private string Hash(TDocument document)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"{type}\n{id}\n"));
        hash.AppendData(JsonSerializer.SerializeToUtf8Bytes(document.WithSeal(null), WorkflowJson.Options));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
