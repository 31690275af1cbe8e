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
    public string Sign(RequestDocument document) => keys.Sign(TokenTypes.Grant, Claims(document));

    internal static GrantClaims Claims(RequestDocument document)
    {
        var approvedAt = document.ApprovedAt ?? throw new InvalidOperationException("Only an approved request has a grant.");
        var spec = document.Spec;
        return new GrantClaims
        {
            Id = $"{spec.Id}:grant",
            Issuer = AppIds.Approval,
            Request = spec.Id,
            Kind = RequestViews.Kind(spec.Kind),
            Person = spec.Requester.Person,
            Connection = spec.Connection,
            Digests = [.. spec.Operations.Select(operation => operation.Digest)],
            AllOf = RequestViews.AllOf(spec),
            Approvers =
            [
                .. document.Votes.Where(vote => vote.Approved).Select(vote => new GrantApprover(vote.Person, vote.Name, vote.At.ToUnixTimeSeconds())),
            ],
            Bootstrap = document.Bootstrap,
            IssuedAt = approvedAt.ToUnixTimeSeconds(),
            // Rounded down: the proxy may only shorten what the workflow's clock gives.
            ExpiresAt = document.Deadline.ToUnixTimeSeconds(),
        };
    }
}

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
