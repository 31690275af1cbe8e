using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Countersign.Policy.Contracts;
using Countersign.Policy.Contracts.Sealing;
using Countersign.Recorder.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace Countersign.Cli.Tests;

/// <summary>Policy and recorder of the fake server.</summary>
internal sealed partial class FakeServer
{
    public List<OperationView> Operations { get; } = [];

    public List<SessionView> Sessions { get; } = [];

    public string Entries { get; set; } = "";

    public byte[] Export { get; set; } = Encoding.UTF8.GetBytes("the export");

    public List<JsonElement> PolicyBodies { get; } = [];

    public PolicyCheckResult CheckAnswer { get; set; } = new([]);

    public PolicyTestReport TestAnswer { get; set; } = new([]);

    public Explanation ExplainAnswer { get; set; } = new(new Decision { Outcome = Outcome.Allow, BundleVersion = 3 }, [], []);

    public ECDiffieHellman SealingKey { get; } = ECDiffieHellman.Create(ECCurve.NamedCurves.nistP256);

    private void MapPolicy(WebApplication app)
    {
        app.MapGet("/proxy/v1/sealing-key", () => CredentialSealing.Describe(SealingKey.PublicKey));
        IResult Keep(JsonElement body, object answer)
        {
            PolicyBodies.Add(body.Clone());
            return Results.Ok(answer);
        }

        app.MapPost("/policy/v1/check", (JsonElement body) => Keep(body, CheckAnswer));
        app.MapPost("/policy/v1/test", (JsonElement body) => Keep(body, TestAnswer));
        app.MapPost("/policy/v1/explain", (JsonElement body) => Keep(body, ExplainAnswer));
        app.MapPost("/policy/v1/changes", (JsonElement body) => Keep(body, new PolicyChangeResult("apr_change", new string('c', 64), 4, "+ rule one\n- rule two", $"{Address}approval/requests/apr_change")));
        app.MapGet("/policy/v1/documents", () => new PolicyDocumentsInForce(3, [new BundleDocument("base.yaml", "a: 1\n"), new BundleDocument("other.yaml", "b: 1\n")]));
        app.MapGet("/policy/v1/connections", () => new[]
        {
            new Connection { Name = "shop", Protocol = "postgres", Host = "db.example.com", Port = 5432, Database = "shop", Labels = new Dictionary<string, string> { ["env"] = "prod" } },
        });
    }

    private void MapRecorder(WebApplication app)
    {
        app.MapGet("/recorder/v1/operations", () => Operations);
        app.MapGet("/recorder/v1/sessions", () => Sessions);
        app.MapGet("/recorder/v1/sessions/{id}/entries", () => Results.Text(Entries, "application/jsonl"));
        app.MapGet("/recorder/v1/export", () => Results.Bytes(Export));
        app.MapGet("/recorder/v1/key", () => "example.com/log+00000000+AAAA\n");
        app.MapGet("/recorder/v1/checkpoint", () => "example.com/log\n2\nAAAA\n\n— example.com/log BBBB\n");
    }
}
