using System.Globalization;
using System.Net;
using Countersign.Policy.Language.Syntax;

namespace Countersign.Policy.Engine.Conditions;

/// <summary>A window on the week, in a time zone. A zone that this machine doesn't know makes the rule err, and so deny.</summary>
internal sealed class TimeCondition : Condition
{
    private readonly TimeSyntax _time;
    private readonly TimeZoneInfo? _zone;

    internal TimeCondition(TimeSyntax time)
        : base("time")
    {
        _time = time;
        TimeZoneInfo.TryFindSystemTimeZoneById(time.Timezone.Value, out _zone);
    }

    internal override bool Dynamic => true;

    internal override bool Holds(in Subject subject)
    {
        var local = Local(subject.Input.Now);
        var time = local.TimeOfDay;
        var from = _time.From ?? TimeSpan.Zero;
        var to = _time.To ?? TimeSpan.FromHours(24);
        if (from < to)
        {
            return On(local.DayOfWeek) && time >= from && time < to;
        }

        // Past midnight: the early part belongs to the day before.
        return (On(local.DayOfWeek) && time >= from) || (On((DayOfWeek)(((int)local.DayOfWeek + 6) % 7)) && time < to);
    }

    internal override string Explain(in Subject subject, bool holds) =>
        string.Create(CultureInfo.InvariantCulture, $"it is {Local(subject.Input.Now):ddd HH:mm} in {_time.Timezone.Value}, {(holds ? "within" : "outside")} {Window()}");

    internal override string? Change(in Subject subject, bool toHold) => toHold ? $"Wait for the time window {Window()}." : $"Wait for the end of the time window {Window()}.";

    private DateTimeOffset Local(DateTimeOffset now) =>
        TimeZoneInfo.ConvertTime(now, _zone ?? throw new TimeZoneNotFoundException($"this machine doesn't know the time zone {_time.Timezone.Value}"));

    private bool On(DayOfWeek day) => _time.Days is null || _time.Days.Contains(day);

    private string Window()
    {
        var days = _time.Days is null ? "every day" : List(_time.Days.Order().Select(day => day.ToString()[..3].ToLowerInvariant()));
        var to = _time.To is { TotalHours: >= 24 } or null ? "24:00" : Clock(_time.To.Value);
        return $"{days} {Clock(_time.From ?? TimeSpan.Zero)}-{to} {_time.Timezone.Value}";
    }

    private static string Clock(TimeSpan time) => time.ToString(@"hh\:mm", CultureInfo.InvariantCulture);
}

/// <summary>Client networks. An address that can't be read is in none of them, and for a rule that holds or denies in all of them.</summary>
internal sealed class AddressCondition(IReadOnlyList<IPNetwork> networks, bool covers) : Condition("client_address")
{
    internal override bool Dynamic => true;

    internal override bool Holds(in Subject subject)
    {
        if (!IPAddress.TryParse(subject.Input.ClientAddress, out var address))
        {
            return !covers;
        }

        if (address.IsIPv4MappedToIPv6)
        {
            address = address.MapToIPv4();
        }

        foreach (var network in networks)
        {
            if (network.Contains(address))
            {
                return true;
            }
        }

        return false;
    }

    internal override string Explain(in Subject subject, bool holds) =>
        $"client {(subject.Input.ClientAddress.Length == 0 ? "address unknown" : subject.Input.ClientAddress)}{(holds ? "" : $", not in {List(networks.Select(network => network.ToString()))}")}";

    internal override string? Change(in Subject subject, bool toHold) => toHold ? $"Connect from {List(networks.Select(network => network.ToString()))}." : null;
}
