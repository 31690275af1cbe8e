using System.Diagnostics.Metrics;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Countersign.Deploy.Tests.Support;
using Countersign.Platform.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Deploy.Tests;

/// <summary>Alert rules and dashboard ask for metrics and labels that the code has.</summary>
[Trait("group", "unit")]
public sealed partial class ObservabilityTests
{
    private static readonly string[] FromElsewhere = ["instance", "le", "job", "network_io_direction"];

    public static TheoryData<string> Expressions => [.. AlertExpressions().Concat(DashboardExpressions()).Distinct()];

    private static Dictionary<string, (string Kind, string Unit)> Instruments { get; } = ReadInstruments();

    [Theory]
    [MemberData(nameof(Expressions))]
    public void An_expression_asks_for_what_there_is(string expression)
    {
        var outside = Label().Replace(Braces().Replace(expression, ""), "");
        var names = Metric().Matches(outside).Select(match => match.Value).ToList();
        Assert.All(names, name => Assert.Contains(name, Exported()));
        Assert.True(names.Count > 0 || outside.StartsWith("up", StringComparison.Ordinal), expression);

        var labels = Braces().Matches(expression).SelectMany(match => Matcher().Matches(match.Value)).Select(match => match.Groups[1].Value)
            .Concat(Label().Matches(expression).SelectMany(match => match.Groups[1].Value.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)));
        Assert.All(labels, label => Assert.True(FromElsewhere.Contains(label) || Tags().Contains(label), $"{label} in {expression}"));
        Assert.Equal(expression.Count(c => c == '('), expression.Count(c => c == ')'));
    }

    [Fact]
    public void The_rules_are_what_prometheus_reads()
    {
        var names = new HashSet<string>();
        foreach (var rule in AlertRules())
        {
            Assert.True(names.Add(rule["alert"]!.GetValue<string>()));
            Assert.Matches("^Countersign[A-Z][A-Za-z]+$", rule["alert"]!.GetValue<string>());
            Assert.Contains(rule["labels"]!["severity"]!.GetValue<string>(), new[] { "critical", "warning", "info" });
            Assert.Empty(((JsonObject)rule).Select(pair => pair.Key).Except(["alert", "expr", "for", "labels", "annotations"]));
            Assert.Equal(["summary", "action"], ((JsonObject)rule["annotations"]!).Select(pair => pair.Key));
            foreach (Match label in Template().Matches(rule["annotations"]!["summary"]!.GetValue<string>()))
            {
                Assert.Contains(label.Groups[1].Value, rule["expr"]!.GetValue<string>() + " instance");
            }
        }

        Assert.True(names.Count >= 15);
    }

    [Fact]
    public void What_telemetry_md_calls_worth_an_alert_has_one()
    {
        var rules = string.Join('\n', AlertExpressions());
        foreach (var metric in new[] { "spool_failed", "recorder_log_failed", "beacon_age", "unshipped", "bundle_version", "self-approval", "notification_messages" })
        {
            Assert.Contains(metric, rules, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_dashboard_has_every_kind_of_panel_placed_once()
    {
        var panels = (JsonArray)Dashboard()["panels"]!;
        Assert.Equal(panels.Count, panels.Select(panel => panel!["id"]!.GetValue<int>()).Distinct().Count());
        Assert.Equal(panels.Count, panels.Select(panel => ($"{panel!["gridPos"]!["x"]}", $"{panel["gridPos"]!["y"]}")).Distinct().Count());
        Assert.DoesNotContain("\"uid\": \"prometheus\"", Tree.Read("deploy/observability/dashboard.json"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Names_are_made_as_the_exporter_makes_them()
    {
        var builder = WebApplication.CreateBuilder(["--urls=http://127.0.0.1:0", "--Logging:LogLevel:Default=Error"]);
        builder.AddCountersignHosting("names");
        await using var app = builder.Build();
        app.UseCountersignHosting();
        await app.StartAsync(TestContext.Current.CancellationToken);
        using var meter = new Meter("Countersign.Names");
        meter.CreateCounter<long>("countersign.some.things", "{thing}").Add(1, new KeyValuePair<string, object?>("countersign.some.tag", "x"));
        meter.CreateCounter<long>("countersign.some.io", "By").Add(1);
        meter.CreateHistogram<double>("countersign.some.wait", "s").Record(1);
        meter.CreateUpDownCounter<long>("countersign.some.open", "{thing}").Add(1);
        var gauge = meter.CreateObservableGauge("countersign.some.age", () => 1.0, "s");
        var version = meter.CreateObservableGauge("countersign.some.version", () => 1);

        using var http = new HttpClient { BaseAddress = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()) };
        var text = await http.GetStringAsync("/metrics", TestContext.Current.CancellationToken);
        foreach (var (name, kind, unit) in new[]
        {
            ("countersign.some.things", "Counter", "{thing}"), ("countersign.some.io", "Counter", "By"), ("countersign.some.wait", "Histogram", "s"),
            ("countersign.some.open", "UpDownCounter", "{thing}"), ("countersign.some.age", "ObservableGauge", "s"), ("countersign.some.version", "ObservableGauge", ""),
        })
        {
            Assert.All(Names(name, kind, unit), expected => Assert.Matches($"(?m)^{expected}[{{ ]", text));
        }

        Assert.Contains("countersign_some_tag=\"x\"", text, StringComparison.Ordinal);
        GC.KeepAlive(gauge);
        GC.KeepAlive(version);
    }

    private static HashSet<string> Exported() => [.. Instruments.SelectMany(each => Names(each.Key, each.Value.Kind, each.Value.Unit))];

    private static IEnumerable<string> Names(string name, string kind, string unit)
    {
        var exported = name.Replace('.', '_') + (unit switch { "s" => "_seconds", "By" => "_bytes", _ => "" });
        return kind switch
        {
            "Counter" => [exported + "_total"],
            "Histogram" => [exported + "_bucket", exported + "_count", exported + "_sum"],
            _ => [exported],
        };
    }

    private static Dictionary<string, (string, string)> ReadInstruments() =>
        Sources().SelectMany(text => Instrument().Matches(text)).ToDictionary(match => match.Groups[2].Value, match => (match.Groups[1].Value, match.Groups[3].Value));

    private static HashSet<string> Tags() => [.. Sources().SelectMany(text => Literal().Matches(text)).Select(match => match.Groups[1].Value.Replace('.', '_')).Where(tag => !Instruments.ContainsKey(tag))];

    private static IEnumerable<string> Sources() => Tree.Files("services", "*.cs").Concat(Tree.Files("platform", "*.cs")).Where(path => !path.Contains("/obj/", StringComparison.Ordinal)).Select(path => Tree.Read(path));

    private static IEnumerable<JsonNode> AlertRules() => ((JsonArray)Yaml.Parse(Tree.Read("deploy/observability/alerts.yaml"))["groups"]!).SelectMany(group => (JsonArray)group!["rules"]!).OfType<JsonNode>();

    private static IEnumerable<string> AlertExpressions() => AlertRules().Select(rule => rule["expr"]!.GetValue<string>());

    private static JsonNode Dashboard() => JsonNode.Parse(Tree.Read("deploy/observability/dashboard.json"))!;

    private static IEnumerable<string> DashboardExpressions() =>
        ((JsonArray)Dashboard()["panels"]!).SelectMany(panel => panel!["targets"] as JsonArray ?? []).Select(target => target!["expr"]!.GetValue<string>());

    [GeneratedRegex("""Create(Counter|Histogram|UpDownCounter|ObservableGauge|ObservableCounter)(?:<\w+>)?\(\s*"(countersign\.[a-z.]+)"[^;]*?(?:"(s|By|\{\w+\})"|null|"[A-Z])""")]
    private static partial Regex Instrument();

    [GeneratedRegex("""
        "(countersign\.[a-z.]+)"
        """, RegexOptions.IgnorePatternWhitespace)]
    private static partial Regex Literal();

    [GeneratedRegex(@"\{[^}]*\}")]
    private static partial Regex Braces();

    [GeneratedRegex(@"(\w+)\s*(?:=~|!~|!=|=)")]
    private static partial Regex Matcher();

    [GeneratedRegex(@"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")]
    private static partial Regex Label();

    [GeneratedRegex(@"\bcountersign_[a-z_]+")]
    private static partial Regex Metric();

    [GeneratedRegex(@"\$labels\.(\w+)")]
    private static partial Regex Template();
}
