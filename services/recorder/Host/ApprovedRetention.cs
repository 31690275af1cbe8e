using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Countersign.Policy.Language;
using Microsoft.Extensions.Options;

namespace Countersign.Recorder.Host;

/// <summary>
/// How long payloads are kept: what the settings of the bundle in force say (I3). The recorder verifies the bundle itself, as proxies do: whoever shortens it needs
/// a second person, and policy's word alone deletes nothing. Where it can't be known nothing is deleted.
/// </summary>
internal sealed class ApprovedRetention
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly IServiceClients _clients;
    private readonly BundleVerifier _verifier;
    private readonly TimeProvider _clock;
    private readonly TimeSpan _atLeast;
    private readonly string _path;

    // Of what was verified last, by this process.
    private ControlTerms? _control;

    public ApprovedRetention(
        [FromKeyedServices(AppIds.Recorder)] IServiceClients clients, ITrustedKeys keys, IOptions<RecorderOptions> options, TimeProvider clock)
    {
        (_clients, _clock, _verifier) = (clients, clock, new BundleVerifier(keys));
        _atLeast = options.Value.KeepAtLeast ?? TimeSpan.Zero;
        _path = Path.Combine(Path.GetFullPath(options.Value.Data), "highest-bundle.json");
    }

    /// <summary>Before when payloads may be deleted now; null where all are kept.</summary>
    /// <exception cref="HttpRequestException">Policy can't be asked.</exception>
    /// <exception cref="BundleRejectedException">The bundle must not be believed.</exception>
    /// <exception cref="PolicyFormatException">Its documents can't be read.</exception>
    public async Task<DateTimeOffset?> EraseBeforeAsync(CancellationToken cancellation)
    {
        var client = _clients.Create(AppIds.Policy);
        using var response = await client.GetAsync(new Uri("v1/bundle", UriKind.Relative), cancellation);
        if (response.StatusCode == HttpStatusCode.NotFound)
        {
            return null;
        }

        response.EnsureSuccessStatusCode();
        var envelope = await response.Content.ReadFromJsonAsync<BundleEnvelope>(Json, cancellation) ?? throw new JsonException("empty answer");

        // An older bundle that kept for less would be good else.
        var highest = File.Exists(_path) ? JsonSerializer.Deserialize<BundleMark>(await File.ReadAllBytesAsync(_path, cancellation)) ?? throw new InvalidDataException($"{_path} is damaged.") : null;
        var verified = await _verifier.VerifyAsync(envelope, highest, _clock.GetUtcNow(), cancellation, _control);
        var documents = PolicyDecoder.Decode(verified.Bundle.Documents);
        _control = ControlTerms.Of(verified.Bundle.Version, documents);
        if (verified.Mark != highest)
        {
            PrivateFiles.WriteAtomically(_path, JsonSerializer.SerializeToUtf8Bytes(verified.Mark));
        }

        var days = documents.Settings.Select(settings => settings.RetentionDays).FirstOrDefault(each => each is not null);
        if (days is not { } kept)
        {
            return null;
        }

        var retention = TimeSpan.FromDays(kept);
        return _clock.GetUtcNow() - (retention > _atLeast ? retention : _atLeast);
    }
}
