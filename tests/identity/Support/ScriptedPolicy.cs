using Countersign.Approval.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Identity.Tests.Support;

/// <summary>A policy service that has the bundle that the test says; signed and granted with the real keys.</summary>
internal sealed class ScriptedPolicy(IServiceProvider services)
{
    /// <summary>What is in force; null for none.</summary>
    public BundleEnvelope? Envelope { get; set; }

    public bool IsDown { get; set; }

    public void Map(WebApplication app)
    {
        var group = app.MapGroup("/policy/v1").RequireCaller(AppIds.Policy, Callers.Services, AppIds.Identity);
        group.AddEndpointFilter(async (context, next) => IsDown ? Results.StatusCode(503) : await next(context));
        group.MapGet("/bundle", () => Envelope is { } envelope ? Results.Ok(envelope) : Problems.Result(404, "no-bundle", "No policy bundle is in force yet."));
        group.MapGet("/beacon", () => Results.Json(new BundleSigner(Key(AppIds.Policy)).Beacon(0, DateTimeOffset.UtcNow)));
    }

    /// <summary>Puts settings into force.</summary>
    public void Force(long version, string control, Func<GrantClaims, GrantClaims>? twist = null)
    {
        var now = DateTimeOffset.UtcNow;
        var bundle = new Bundle { Version = version, CreatedAt = now, Documents = [new BundleDocument("s.yaml", $"apiVersion: countersign/v1\nkind: Settings\nname: s\ncontrol_approval: {{{control}}}\n")] };
        var payload = BundleCodec.Encode(bundle);
        var grant = new GrantClaims
        {
            Id = "g",
            Issuer = AppIds.Approval,
            Request = "apr_bundle",
            Kind = RequestKind.Bundle,
            Person = "per_author",
            Connection = "",
            Digests = [BundleCodec.Digest(payload)],
            AllOf = [new RequestRequirement(["security"], 2), new RequestRequirement(["enrolled"], 1)],
            Approvers = [.. new[] { "per_x", "per_y", "per_z" }.Select(person => new GrantApprover(person, person, now.ToUnixTimeSeconds()))],
            IssuedAt = now.ToUnixTimeSeconds(),
            ExpiresAt = now.AddMinutes(10).ToUnixTimeSeconds(),
        };
        Envelope = new BundleSigner(Key(AppIds.Policy)).Seal(payload, version, Key(AppIds.Approval).Sign(TokenTypes.Grant, (twist ?? (same => same))(grant)), now);
    }

    private SigningKey Key(string service) => services.GetRequiredKeyedService<SigningKey>(service);
}
