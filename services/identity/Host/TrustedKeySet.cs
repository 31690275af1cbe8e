using System.Security.Cryptography;
using System.Text;
using Countersign.Identity.Persons;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Identity.Host;

/// <summary><c>GET /identity/v1/keys</c>: the public keys that services trust one another by, and what two people agreed to.</summary>
/// <param name="Keys"><c>service thumbprint</c> each, as enrolled on this host now.</param>
/// <param name="Approved">The same as it was approved last; what was there at the very first start counts.</param>
/// <param name="Added">Enrolled now and not approved.</param>
/// <param name="Removed">Approved and no longer enrolled.</param>
public sealed record TrustedKeysView(IReadOnlyList<string> Keys, IReadOnlyList<string> Approved, IReadOnlyList<string> Added, IReadOnlyList<string> Removed);

/// <summary>
/// Watches the set of enrolled service keys. The keys themselves live on the hosts, out of reach of any request: whoever can write there could replace the services too.
/// So a change can't be held back, but it is loud: an audit event of high severity until two people have agreed to the set (I3).
/// </summary>
internal sealed partial class TrustedKeySet(
    [FromKeyedServices(AppIds.Identity)] IStateStore store, ITrustedKeys trusted, AuditTrail audit, TimeProvider time, ILogger<TrustedKeySet> logger)
{
    private const string Key = "set";
    private static readonly TimeSpan Reminder = TimeSpan.FromHours(24);
    private static readonly string[] Services = [AppIds.Approval, AppIds.Identity, AppIds.Policy, AppIds.Proxy, AppIds.Recorder];
    private readonly Documents<KnownSet> _sets = new(store, "trusted-keys");
    private IReadOnlyList<string> _last = [];

    /// <summary>What is enrolled now, sorted: <c>service thumbprint</c>.</summary>
    public async ValueTask<IReadOnlyList<string>> CurrentAsync(CancellationToken cancellation)
    {
        var keys = new List<string>();
        foreach (var service in Services)
        {
            try
            {
                keys.AddRange((await trusted.GetAsync(service, cancellation)).Keys.Select(key => $"{service} {Thumbprint(key)}"));
            }
            catch (TokenRejectedException)
            {
                // Not enrolled here: nobody trusts it.
            }
        }

        return [.. keys.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
    }

    /// <summary>The set now against the one that was approved.</summary>
    public async ValueTask<TrustedKeysView> ViewAsync(CancellationToken cancellation)
    {
        var now = await CurrentAsync(cancellation);
        var approved = (await _sets.FindAsync(Key, cancellation))?.Approved ?? now;
        return new TrustedKeysView(now, approved, [.. now.Except(approved, StringComparer.Ordinal)], [.. approved.Except(now, StringComparer.Ordinal)]);
    }

    /// <summary>Looks, and says loudly where the set is another one than approved: at once when it changes, and every day until somebody has agreed.</summary>
    public async Task LookAsync(CancellationToken cancellation)
    {
        var current = await CurrentAsync(cancellation);
        if (current.Count == 0)
        {
            return;
        }

        var now = time.GetUtcNow();
        var known = await _sets.FindAsync(Key, cancellation);
        if (known is null)
        {
            await _sets.TryAddAsync(Key, new KnownSet(current, "first start", current, null), cancellation);
            return;
        }

        // A service that was never enrolled before: the installation isn't complete yet. Keys beside those that a service has, or instead, are another matter.
        var services = known.Approved.Select(ServiceOf).ToHashSet(StringComparer.Ordinal);
        if (current.Where(key => !services.Contains(ServiceOf(key))).ToList() is { Count: > 0 } first)
        {
            known = known with { Approved = [.. known.Approved.Concat(first).Order(StringComparer.Ordinal)] };
            await _sets.ChangeAsync(Key, each => each is null ? null : each with { Approved = known.Approved }, cancellation);
            await audit.RecordAsync(
                "keys.enrolled", "", "host", "trusted-keys", cancellation, details: new Dictionary<string, string> { ["added"] = string.Join(", ", first) });
        }

        // Seen twice, since a service that starts writes its keys one after the other.
        var settled = current.SequenceEqual(_last, StringComparer.Ordinal);
        _last = current;
        if (!settled)
        {
            return;
        }

        var differs = !current.SequenceEqual(known.Approved, StringComparer.Ordinal);
        var isNew = !current.SequenceEqual(known.Seen, StringComparer.Ordinal);
        if (differs && (isNew || known.ToldAt is not { } told || now - told >= Reminder))
        {
            var added = string.Join(", ", current.Except(known.Approved, StringComparer.Ordinal));
            var removed = string.Join(", ", known.Approved.Except(current, StringComparer.Ordinal));
            LogChanged(added, removed);
            await audit.RecordAsync(
                "keys.not-approved", "", "host", "trusted-keys", cancellation, success: false,
                new Dictionary<string, string> { ["severity"] = "high", ["added"] = added, ["removed"] = removed });
            await _sets.ChangeAsync(Key, each => each is null ? null : each with { Seen = current, ToldAt = now }, cancellation);
        }
        else if (isNew)
        {
            await _sets.ChangeAsync(Key, each => each is null ? null : each with { Seen = current, ToldAt = null }, cancellation);
        }
    }

    /// <summary>The change to ask for, and its readable difference.</summary>
    /// <exception cref="IdentityException">There is nothing to agree to.</exception>
    public async ValueTask<(IdentityChange Change, string Text)> ProposeAsync(CancellationToken cancellation)
    {
        var view = await ViewAsync(cancellation);
        if (view.Added.Count + view.Removed.Count == 0)
        {
            throw new IdentityException(409, "change-impossible", "The keys that are enrolled are the approved ones.");
        }

        var text = new StringBuilder("Keys that services trust one another by\n");
        foreach (var line in view.Keys.Union(view.Removed, StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            text.Append(view.Added.Contains(line) ? "+ " : view.Removed.Contains(line) ? "- " : "  ").Append(line).Append('\n');
        }

        return (new IdentityChange(ChangeKinds.Keys, view.Keys, ""), text.ToString());
    }

    /// <summary>Two people have agreed to this set.</summary>
    public async ValueTask ApproveAsync(IdentityChange change, string request, CancellationToken cancellation) =>
        await _sets.ChangeAsync(Key, known => new KnownSet(change.Persons, request, known?.Seen ?? change.Persons, null), cancellation);

    private static string ServiceOf(string key) => key.Split(' ')[0];

    // RFC 7638, not the kid of the file: that is the file's word.
    private static string Thumbprint(Microsoft.IdentityModel.Tokens.JsonWebKey key) => Convert.ToHexStringLower(
        SHA256.HashData(Encoding.UTF8.GetBytes($$"""{"crv":"{{key.Crv}}","kty":"{{key.Kty}}","x":"{{key.X}}","y":"{{key.Y}}"}""")));

    [LoggerMessage(2130, LogLevel.Critical, "The keys that services trust are not those that were approved; added: {Added}; removed: {Removed}")]
    private partial void LogChanged(string added, string removed);

    private sealed record KnownSet(IReadOnlyList<string> Approved, string ApprovedBy, IReadOnlyList<string> Seen, DateTimeOffset? ToldAt);
}
