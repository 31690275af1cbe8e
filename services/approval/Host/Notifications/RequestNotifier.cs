using System.Text.Json;
using Countersign.Approval.Notify;
using Countersign.Approval.Workflow;

namespace Countersign.Approval.Host.Notifications;

/// <summary>Makes notifications of what happened to requests, and puts them where they wait: with the other effects, so that a crash loses none.</summary>
internal sealed class RequestNotifier(NotificationOutbox outbox, IEnumerable<INotificationTarget> targets, PublicAddress address, INotificationReports reports,
    NotificationMetrics metrics)
{
    private readonly INotificationTarget[] _targets = [.. targets];

    /// <exception cref="Countersign.Platform.Ports.PortUnavailableException">The store can't be reached: the effect is run again.</exception>
    public async ValueTask EnqueueAsync(RequestDocument document, RequestEffect effect, CancellationToken cancellation)
    {
        if (_targets.Length == 0)
        {
            return;
        }

        var groups = document.Spec.AllOf.SelectMany(requirement => requirement.AnyOf).Distinct(StringComparer.Ordinal).ToList();
        Notification? notification = null;
        foreach (var target in _targets.Where(target => target.Wants(effect.Action, groups)))
        {
            notification ??= Of(document, effect, address.Of(document.Spec.Id));
            if (!await outbox.EnqueueAsync($"{document.Spec.Id}:{effect.Version}:{target.Name}", target.Name, null, notification, cancellation))
            {
                metrics.Became(target.Name, "dropped");
                await reports.DroppedAsync(target.Name, notification, "too many wait");
            }
        }
    }

    /// <summary>What is told of an effect.</summary>
    internal static Notification Of(RequestDocument document, RequestEffect effect, string link)
    {
        var spec = document.Spec;
        return new Notification
        {
            Event = effect.Action,
            At = effect.At,
            Request = spec.Id,
            Version = effect.Version,
            Kind = JsonNamingPolicy.SnakeCaseLower.ConvertName(spec.Kind.ToString()),
            State = JsonNamingPolicy.CamelCase.ConvertName(effect.State.ToString()),
            Requester = new NotifiedPerson(spec.Requester.Person, Excerpts.Name(spec.Requester.Name)),
            By = effect.Person.Length > 0 ? new NotifiedPerson(effect.Person, Excerpts.Name(effect.Name)) : null,
            Connection = Excerpts.Name(spec.Connection),
            Database = Excerpts.Name(spec.Database),
            Rules = Excerpts.Names(spec.Rules),
            Reason = Excerpts.Of(spec.Reason, Excerpts.MaxSentence),
            Comment = Excerpts.Of(effect.Comment, Excerpts.MaxSentence),
            Needs = [.. spec.AllOf.Select(each => new NotifiedRequirement([.. each.AnyOf.Select(Excerpts.Name)], each.Quorum))],
            Statements = [.. spec.Operations.Take(Excerpts.MaxStatements).Select(operation => Excerpts.Of(operation.Text, Excerpts.MaxStatement))],
            MoreStatements = Math.Max(0, spec.Operations.Count - Excerpts.MaxStatements),
            ExpiresAt = document.Deadline,
            Link = link,
        };
    }
}
