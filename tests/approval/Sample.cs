using Countersign.Approval.Notify;

namespace Countersign.Approval.Tests;

/// <summary>What tests of notifications tell.</summary>
internal static class Sample
{
    public static Notification Notification { get; } = new()
    {
        Event = "request.opened",
        At = DateTimeOffset.UnixEpoch,
        Request = "apr_a",
        Version = 1,
        Kind = "operation",
        State = "pending",
        Requester = new NotifiedPerson("alice", "alice"),
        ExpiresAt = DateTimeOffset.UnixEpoch,
        Link = "https://countersign.example/approval/requests/apr_a",
    };
}
