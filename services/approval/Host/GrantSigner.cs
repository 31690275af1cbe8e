using System.Text.Json.Serialization;
using Countersign.Approval.Actors;
using Countersign.Approval.Contracts;
using Countersign.Approval.Grants;
using Countersign.Approval.Workflow;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;

namespace Countersign.Approval.Host;

/// <summary>Makes the grant of an approved request (docs/formats/grant.md).</summary>
internal sealed class GrantSigner(GrantKeys keys) : IGrantSigner
{
    public const string SealType = "cs-open+jwt";
    public const string DocumentType = "cs-document+jwt";

    public string Sign(RequestDocument document) => keys.Sign(TokenTypes.Grant, Claims(document));

    public string SealDocument(string hash) => keys.Sign(DocumentType, new DocumentClaims(AppIds.Approval, hash));

    public string Seal(RequestSpec spec) => keys.Sign(SealType, new SealClaims(AppIds.Approval, SpecHash.Compute(spec)));

    internal static GrantClaims Claims(RequestDocument document)
    {
        var spec = document.Spec;
        var at = document.ApprovedAt ?? (spec.InEffect ? document.CreatedAt : throw new InvalidOperationException("Only an approved request has a grant."));
        var extended = document.Extensions is { Count: > 0 } extensions ? extensions : null;
        return new GrantClaims
        {
            // A grant that is signed anew is another one.
            Id = $"{spec.Id}:grant" + (extended is null ? "" : $":{extended.Count}"),
            Issuer = AppIds.Approval,
            Request = spec.Id,
            Kind = RequestViews.Kind(spec.Kind),
            Person = spec.Requester.Person,
            Connection = spec.Connection,
            Digests = spec.Window is null ? [.. spec.Operations.Select(operation => operation.Digest)] : [],
            AllOf = RequestViews.AllOf(spec),
            Approvers =
            [
                .. document.Votes.Where(vote => vote.Approved).Select(vote => new GrantApprover(vote.Person, vote.Name, vote.At.ToUnixTimeSeconds())),
            ],
            Bootstrap = document.Bootstrap,
            BreakGlass = document.BreakGlass is not null,
            Window = RequestViews.Window(spec),
            WindowEndsAt = document.WindowBeganAt is null ? null : document.Deadline.ToUnixTimeSeconds(),
            Assurance = RequestViews.Assurance(spec),
            Removal = spec.InEffect,
            Extends = spec.Extends,
            ExtendsDigest = spec.Extends is null ? null : spec.Digest,
            ExtendedBy = extended?.Select(extension => extension.Request).ToList(),
            IssuedAt = at.ToUnixTimeSeconds(),
            // Rounded down: the proxy may only shorten what the workflow's clock gives. What has ended already counts from its beginning.
            ExpiresAt = (document.IsTerminal ? at + spec.GrantLifetime : document.Deadline).ToUnixTimeSeconds(),
        };
    }
}

/// <summary>Claims of the seal over what is to be opened; approval makes and verifies it.</summary>
/// <param name="Issuer">Always <c>approval</c>.</param>
/// <param name="Hash">See <see cref="SpecHash"/>.</param>
internal sealed record SealClaims([property: JsonPropertyName("iss")] string Issuer, [property: JsonPropertyName("spec")] string Hash);

/// <summary>Claims of the seal over a document; approval makes and verifies it.</summary>
/// <param name="Issuer">Always <c>approval</c>.</param>
/// <param name="Hash">See <see cref="SealedHost{TDocument}"/>.</param>
internal sealed record DocumentClaims([property: JsonPropertyName("iss")] string Issuer, [property: JsonPropertyName("document")] string Hash);

/// <summary>Makes the grant keys known at start, and replaces the current one when it is old.</summary>
internal sealed partial class GrantKeyRotation(
    GrantKeys keys, Microsoft.Extensions.Options.IOptions<ApprovalOptions> options, TimeProvider clock, ILogger<GrantKeyRotation> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromHours(1);

    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        keys.Publish();
        RotateIfDue();
        await base.StartAsync(cancellationToken);
    }

    internal void RotateIfDue()
    {
        if (clock.GetUtcNow() - keys.CreatedAt >= TimeSpan.FromDays(options.Value.KeyLifetimeDays))
        {
            keys.Rotate();
            LogRotated(keys.KeyId);
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, clock);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                try
                {
                    RotateIfDue();
                }
                catch (Exception error) when (error is IOException or UnauthorizedAccessException or InvalidDataException)
                {
                    // The old key goes on being good.
                    LogNotRotated(error);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    [LoggerMessage(2511, LogLevel.Information, "Grants are signed with the new key {KeyId} from now on")]
    private partial void LogRotated(string keyId);

    [LoggerMessage(2512, LogLevel.Error, "The key that signs grants could not be replaced")]
    private partial void LogNotRotated(Exception error);
}
