using System.Globalization;
using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Bundles;

/// <summary>
/// Bundles of the service in its state store. <c>bundles/{version}-{digest}</c> are envelopes; <c>bundle-head/current</c> says which is in force: writing it
/// is the moment a bundle comes into force, all of it or nothing, and of several replicas that try at once one succeeds.
/// </summary>
public sealed class BundleStore(IStateStore store)
{
    private const string Bundles = "bundles";
    private const string Heads = "bundle-head";
    private const string Current = "current";

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    };

    /// <summary>The bundle in force; null before the first one.</summary>
    /// <exception cref="InvalidDataException">The head names a bundle that isn't there.</exception>
    public async ValueTask<(BundleMark Mark, BundleEnvelope Envelope)?> CurrentAsync(CancellationToken cancellation)
    {
        if (await HeadAsync(cancellation).ConfigureAwait(false) is not { } head)
        {
            return null;
        }

        // By its version alone: as it was kept before replicas shared a store.
        var item = await store.GetAsync(Bundles, Key(head.Mark), cancellation).ConfigureAwait(false)
            ?? await store.GetAsync(Bundles, head.Mark.Version.ToString("D19", CultureInfo.InvariantCulture), cancellation).ConfigureAwait(false)
            ?? throw new InvalidDataException($"Bundle {head.Mark.Version} is in force but is not in the store.");
        var envelope = JsonSerializer.Deserialize<BundleEnvelope>(item.Value.Span, Json) ?? throw new InvalidDataException("The bundle in the store is empty.");
        return (head.Mark, envelope);
    }

    /// <summary>What is in force; null before the first one.</summary>
    public async ValueTask<BundleMark?> MarkAsync(CancellationToken cancellation) => (await HeadAsync(cancellation).ConfigureAwait(false))?.Mark;

    /// <summary>Puts an envelope into force, if what is in force is still what it was made from.</summary>
    /// <param name="mark">Version and digest of the new one.</param>
    /// <param name="envelope">The new one.</param>
    /// <param name="expected">Version in force that it was made from; 0 for none.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    /// <returns>False where another bundle has come into force meanwhile; nothing has changed then.</returns>
    public async ValueTask<bool> TryActivateAsync(BundleMark mark, BundleEnvelope envelope, long expected, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(mark);
        var head = await HeadAsync(cancellation).ConfigureAwait(false);
        if ((head?.Mark.Version ?? 0) != expected || mark.Version <= expected)
        {
            return false;
        }

        // One that is there already is the same bundle, by an attempt that didn't get as far as the head, or by another replica that is at it: either envelope is good.
        var value = JsonSerializer.SerializeToUtf8Bytes(envelope, Json);
        var present = await store.GetAsync(Bundles, Key(mark), cancellation).ConfigureAwait(false);
        await store.TrySaveAsync(Bundles, Key(mark), value, present?.ETag, cancellation).ConfigureAwait(false);
        return await store.TrySaveAsync(Heads, Current, JsonSerializer.SerializeToUtf8Bytes(mark, Json), head?.ETag, cancellation).ConfigureAwait(false);
    }

    private async ValueTask<(BundleMark Mark, string ETag)?> HeadAsync(CancellationToken cancellation)
    {
        var item = await store.GetAsync(Heads, Current, cancellation).ConfigureAwait(false);
        return item is null ? null : (JsonSerializer.Deserialize<BundleMark>(item.Value.Span, Json) ?? throw new InvalidDataException("The head of the bundles is empty."), item.ETag);
    }

    // With the digest: another bundle that wants to become the same version must not overwrite one that is about to be in force.
    private static string Key(BundleMark mark) => $"{mark.Version.ToString("D19", CultureInfo.InvariantCulture)}-{mark.Digest}";
}
