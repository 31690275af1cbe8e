using System.Text;
using Countersign.Approval.Contracts;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Policy.Bundles;
using Countersign.Policy.Contracts;

namespace Countersign.Policy.Tests.Bundles;

[Trait("group", "unit")]
public sealed class BundleTests : IDisposable
{
    private readonly SigningKey _policy = SigningKey.Create();
    private readonly SigningKey _approval = SigningKey.Create();

    public void Dispose()
    {
        _policy.Dispose();
        _approval.Dispose();
    }

    [Fact]
    public void The_payload_is_frozen_and_does_not_depend_on_order()
    {
        var bundle = Sample();
        Assert.Equal(Frozen.Payload, Encoding.UTF8.GetString(BundleCodec.Encode(bundle)));
        Assert.Equal(Frozen.Digest, BundleCodec.Digest(BundleCodec.Encode(bundle)));
        var turned = bundle with { Documents = [.. bundle.Documents.Reverse()], Connections = [.. bundle.Connections.Reverse()] };
        Assert.Equal(Frozen.Digest, BundleCodec.Digest(BundleCodec.Encode(turned)));
        var again = BundleCodec.Decode(Encoding.UTF8.GetBytes(Frozen.Payload));
        Assert.Equal(Frozen.Digest, BundleCodec.Digest(BundleCodec.Encode(again)));
        Assert.Equal("verify-full", again.Connections[0].Tls);
    }

    [Fact]
    public void A_provider_is_named_in_the_payload_and_shown_to_approvers()
    {
        var sealedBefore = new Bundle { Version = 5, CreatedAt = Given.Now, Connections = [Given.Connection() with { Tls = "disable", Credential = new SealedCredential("s", "k1", "ZW5j", "Y3Q") }] };
        var after = new Bundle { Version = 6, CreatedAt = Given.Now, Connections = [Given.Connection() with { Tls = "disable", CredentialFrom = CredentialProviders.SecretStore }] };
        Assert.Equal(Frozen.ProvidedPayload, Encoding.UTF8.GetString(BundleCodec.Encode(after)));
        Assert.Equal(CredentialProviders.SecretStore, Assert.Single(BundleCodec.Decode(Encoding.UTF8.GetBytes(Frozen.ProvidedPayload)).Connections).CredentialFrom);
        var diff = BundleDiff.Between(sealedBefore, after);
        Assert.Contains("  - credential: sealed to key k1", diff, StringComparison.Ordinal);
        Assert.Contains("  + credential: from secret-store, read by the proxies for each session, for this address only\n", diff, StringComparison.Ordinal);
        Assert.Contains("  + credential: none\n", BundleDiff.Between(after, after with { Connections = [Given.Connection() with { Tls = "disable" }] }), StringComparison.Ordinal);
    }

    [Fact]
    public void Signature_and_beacon_have_frozen_headers_and_claims()
    {
        static string Part(string token, int index) => Encoding.UTF8.GetString(System.Buffers.Text.Base64Url.DecodeFromChars(token.Split('.')[index]));
        var signature = Envelope(Sample()).Signature;
        Assert.Equal($$"""{"iss":"policy","version":5,"digest":"{{Frozen.Digest}}","iat":1777888800}""", Part(signature, 1));
        Assert.Contains("\"typ\":\"cs-bundle+jwt\"", Part(signature, 0), StringComparison.Ordinal);
        var beacon = new BundleSigner(_policy).Beacon(5, Given.Now);
        Assert.Equal("""{"version":5,"iat":1777888800}""", Part(beacon, 1));
        Assert.Contains("\"typ\":\"cs-beacon+jwt\"", Part(beacon, 0), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("{\"version\":1}")]
    [InlineData("{\"version\":1,\"createdAt\":\"2026-05-04T10:00:00+00:00\",\"extra\":1}")]
    [InlineData("{\"version\":1,\"version\":2,\"createdAt\":\"2026-05-04T10:00:00+00:00\"}")]
    [InlineData("{\"version\":1,\"createdAt\":\"2026-05-04T10:00:00+00:00\",\"documents\":null}")]
    [InlineData("{\"version\":1,\"createdAt\":\"2026-05-04T10:00:00+00:00\"} x")]
    public void A_payload_that_is_not_exactly_a_bundle_is_refused(string json) =>
        Assert.Throws<BundleRejectedException>(() => BundleCodec.Decode(Encoding.UTF8.GetBytes(json)));

    [Fact]
    public async Task An_approved_and_signed_bundle_verifies_long_after_its_grant_has_expired()
    {
        var verified = await VerifyAsync(Envelope(Sample()), null, Given.Now.AddDays(400));
        Assert.Equal((5, Given.Now), (verified.Bundle.Version, verified.InForceSince));
        Assert.Equal(new BundleMark(5, Frozen.Digest), verified.Mark);
    }

    [Fact]
    public async Task Neither_service_alone_can_make_one()
    {
        var good = Envelope(Sample());
        var other = BundleCodec.Encode(Sample() with { Version = 6 });
        await RefusedAsync("policy signed another payload", good with { Payload = System.Buffers.Text.Base64Url.EncodeToString(other) });
        await RefusedAsync("another payload was approved", new BundleSigner(_policy).Seal(other, 6, good.Grant, Given.Now));
        await RefusedAsync("signature or grant", new BundleSigner(_approval).Seal(BundleCodec.Encode(Sample()), 5, good.Grant, Given.Now));
        await RefusedAsync("signature or grant", good with { Grant = _policy.Sign(TokenTypes.Grant, Grant(Frozen.Digest)) });
        await RefusedAsync("signature or grant", good with { Grant = good.Signature });
        await RefusedAsync("signature or grant", good with { Signature = good.Grant });
        await RefusedAsync("signature or grant", good with { Signature = "" });
        await RefusedAsync("version signed", new BundleSigner(_policy).Seal(BundleCodec.Encode(Sample()), 9, good.Grant, Given.Now));
    }

    [Fact]
    public async Task A_grant_must_be_for_this_bundle_by_others_and_good_when_it_was_used()
    {
        var payload = BundleCodec.Encode(Sample());
        BundleEnvelope With(GrantClaims grant, DateTimeOffset? at = null) => new BundleSigner(_policy).Seal(payload, 5, _approval.Sign(TokenTypes.Grant, grant), at ?? Given.Now);
        var good = Grant(Frozen.Digest);
        await RefusedAsync("something else", With(good with { Kind = RequestKind.Operation }));
        await RefusedAsync("another payload", With(good with { Digests = [Frozen.Digest, Frozen.Digest] }));
        await RefusedAsync("another payload", With(good with { Digests = [] }));
        await RefusedAsync("enough other persons", With(good with { Approvers = [new GrantApprover("per_alice", "alice", 0)] }));
        await RefusedAsync("enough other persons", With(good with { Approvers = [] }));
        await RefusedAsync("enough other persons", With(good with { AllOf = [new RequestRequirement(["enrolled"], 2)] }));
        var two = good with { AllOf = [new RequestRequirement(["sec"], 1), new RequestRequirement(["ops"], 1)] };
        await RefusedAsync("enough other persons", With(two));
        await RefusedAsync("enough other persons", With(two with { Approvers = [.. good.Approvers, new GrantApprover("per_alice", "alice", 0), .. good.Approvers] }));
        await VerifyAsync(With(two with { Approvers = [.. good.Approvers, new GrantApprover("per_carol", "carol", 0)] }), null, Given.Now);
        await RefusedAsync("who had to agree", With(good with { AllOf = [new RequestRequirement(["sec"], 2), new RequestRequirement(["ops"], -1)] }));
        await RefusedAsync("outside the time", With(good, Given.Now.AddMinutes(11)), now: Given.Now.AddDays(1));
        await RefusedAsync("outside the time", With(good, Given.Now.AddMinutes(-1)));
        await RefusedAsync("in the future", With(good with { ExpiresAt = Given.Now.AddYears(1).ToUnixTimeSeconds() }, Given.Now.AddDays(3)));
        await VerifyAsync(With(good with { Bootstrap = true, Approvers = [new GrantApprover("per_alice", "alice", 0)] }), null, Given.Now);
    }

    [Fact]
    public async Task An_older_one_and_another_one_of_the_same_version_are_refused()
    {
        var envelope = Envelope(Sample());
        await VerifyAsync(envelope, new BundleMark(4, "x"), Given.Now);
        await VerifyAsync(envelope, new BundleMark(5, Frozen.Digest), Given.Now);
        await RefusedAsync("another bundle of version 5", envelope, new BundleMark(5, "another"));
        await RefusedAsync("older than 6", envelope, new BundleMark(6, Frozen.Digest));
    }

    [Fact]
    public async Task What_was_agreed_to_on_weaker_terms_than_those_in_force_is_refused()
    {
        static Bundle Under(long version, string control) => new()
        {
            Version = version,
            CreatedAt = Given.Now,
            Documents = [new BundleDocument("s.yaml", $"apiVersion: countersign/v1\nkind: Settings\nname: s\ncontrol_approval: {{{control}}}\n")],
        };
        var control = ControlTerms.Of(Under(4, "all_of: [{any_of: [sec], quorum: 2}, {any_of: [ops, dba]}], assurance: {amr: [otp]}"));
        var next = Under(5, "groups: [enrolled]");
        GrantApprover[] three = [.. new[] { "bob", "carol", "dave" }.Select(name => new GrantApprover($"per_{name}", name, 0))];
        var good = Grant(Digest(next)) with
        {
            AllOf = [new RequestRequirement(["ops"], 1), new RequestRequirement(["sec"], 2)],
            Approvers = three,
            Assurance = new RequestAssurance(null, ["otp", "pwd"]),
        };
        ValueTask<VerifiedBundle> Verify(GrantClaims grant, ControlTerms? before, long version = 5) =>
            VerifyAsync(Signed(next with { Version = version }, grant with { Digests = [Digest(next with { Version = version })] }), null, Given.Now, before);
        async Task Weaker(GrantClaims grant, long version = 5) => Assert.Contains(
            "weaker terms than version 4", (await Assert.ThrowsAsync<BundleRejectedException>(async () => await Verify(grant, control, version))).Message, StringComparison.Ordinal);

        await Verify(good, control);
        // Policy asks whom it likes, and one accomplice is enough.
        await Weaker(Grant(""));
        await Weaker(Grant(""), version: 9);
        await Weaker(Grant("") with { Bootstrap = true });
        await Weaker(good with { AllOf = [new RequestRequirement(["ops"], 1), new RequestRequirement(["sec"], 1)] });
        await Weaker(good with { AllOf = [new RequestRequirement(["ops"], 1), new RequestRequirement(["sec", "interns"], 2)] });
        await Weaker(good with { AllOf = [new RequestRequirement(["sec"], 3)] });
        await Weaker(good with { Assurance = null });
        await Weaker(good with { Assurance = new RequestAssurance(60, ["pwd"]) });

        // Who has enforced nothing yet can't compare; what is enforced already needs no comparison.
        await Verify(Grant(""), null);
        await Verify(Grant(""), control with { Version = 5 });
        await Verify(Grant(""), ControlTerms.Default);
        await VerifyAsync(Follows(Rules(6, Read), Rules(5, Read + Write)), null, Given.Now, control with { Version = 5 });
    }

    [Fact]
    public async Task One_person_alone_can_only_take_away()
    {
        var before = Rules(5, Read + Write);
        var less = Rules(6, Read);
        await VerifyAsync(Follows(less, before), null, Given.Now);
        Assert.Equal(6, (await VerifyAsync(Follows(less, before), new BundleMark(5, Digest(before)), Given.Now)).Bundle.Version);
        await RefusedAsync("does more than taking away", Follows(Rules(6, Read + Write + Write.Replace("write", "more", StringComparison.Ordinal)), before));
        await RefusedAsync("not from which bundle", Sealed(less, removal: true));
        await RefusedAsync("follows nothing", Sealed(less, removal: false) with { Before = [Sealed(before, removal: false)] });
        await RefusedAsync("not from which bundle", Follows(less, before) with { Before = [Sealed(before, removal: true)] });
        await RefusedAsync("not in their order", Follows(Rules(5, Read), before));
        await RefusedAsync("documents can't be compared", Follows(less with { Documents = [new BundleDocument("p.yaml", "x")] }, before));

        // Without the claim nobody else's word is missing, whatever the bundle does; with it the grant is good for nothing else.
        await RefusedAsync("enough other persons", Signed(less, Grant(Digest(less)) with { Approvers = [] }) with { Before = [Sealed(before, removal: false)] });
        await RefusedAsync("something else", Signed(less, Grant(Digest(less)) with { Approvers = [], Removal = true, BreakGlass = true }) with { Before = [Sealed(before, removal: false)] });
        await RefusedAsync("another payload", Signed(less, Grant(Digest(before)) with { Approvers = [], Removal = true }) with { Before = [Sealed(before, removal: false)] });
    }

    [Fact]
    public async Task A_removal_that_was_seen_can_not_be_passed_over()
    {
        var before = Rules(5, Read + Write);
        var (one, two) = (Rules(6, Read), Rules(7, ""));
        var second = Follows(two, before, one);
        await VerifyAsync(second, null, Given.Now);
        await VerifyAsync(second, new BundleMark(5, Digest(before)), Given.Now);
        await VerifyAsync(second, new BundleMark(6, Digest(one)), Given.Now);
        await VerifyAsync(second, new BundleMark(7, Digest(two)), Given.Now);
        await RefusedAsync("another bundle of version 6", second, new BundleMark(6, "x"));

        // It would give back what version 6 took away.
        var around = Follows(Rules(7, Write), before);
        await VerifyAsync(around, new BundleMark(5, Digest(before)), Given.Now);
        await RefusedAsync("doesn't follow version 6", around, new BundleMark(6, Digest(one)));
        await RefusedAsync("older than 8", second, new BundleMark(8, "x"));
        await RefusedAsync("in the wrong way", second with { Before = [second.Before![0], second.Before[1] with { Before = [second.Before[0]] }] });
        await RefusedAsync("too many", second with { Before = [.. Enumerable.Repeat(second.Before[0], BundleVerifier.MaxRemovals + 1)] });
        await RefusedAsync("signature or grant", second with { Before = [second.Before[0], second.Before[1] with { Grant = _policy.Sign(TokenTypes.Grant, Grant(Digest(one)) with { Removal = true }) }] });
    }

    [Fact]
    public void The_diff_names_every_line_that_changes()
    {
        var before = Sample();
        var lines = string.Join('\n', Enumerable.Range(1, 20).Select(line => $"# {line}"));
        before = before with { Documents = [.. before.Documents, new BundleDocument("long.yaml", lines + "\n")] };
        var after = before with
        {
            Version = 6,
            Documents = [new BundleDocument("a.yaml", "# one\n# two"), new BundleDocument("long.yaml", lines.Replace("# 10", "# ten", StringComparison.Ordinal) + "\n"), new BundleDocument("new.yaml", "x: y\n")],
            Connections = [before.Connections[1] with { Port = 5433 }],
        };
        Assert.Equal(
            """
            Policy bundle: version 5 -> 6

            Changed document a.yaml
                # one
              + # two

            Removed document b.yaml
              - # b

            Changed document long.yaml
                (6 unchanged lines)
                # 7
                # 8
                # 9
              - # 10
              + # ten
                # 11
                # 12
                # 13
                (7 unchanged lines)

            New document new.yaml
              + x: y

            Removed connection crm
              - protocol: postgres
              - address: db.example.com:5432
              - database: crm
              - tls: verify-full
              - label env: prod
              - label tier: gold
              - proxy group: default
              - credential: sealed to key k1 (s), SHA-256 of the ciphertext f82a44dcc79b6dc6f6b2a1c4d0b9d2ed0ac8d2b2b8e6a4c1ad26ec3dee5a7a6c

            Changed connection shop
                protocol: postgres
              - address: 127.0.0.1:5432
              + address: 127.0.0.1:5433
                database: shop
                tls: disable
                proxy group: default
                (1 unchanged line)

            """.ReplaceLineEndings("\n"),
            System.Text.RegularExpressions.Regex.Replace(BundleDiff.Between(before, after), "ciphertext [0-9a-f]{64}", "ciphertext f82a44dcc79b6dc6f6b2a1c4d0b9d2ed0ac8d2b2b8e6a4c1ad26ec3dee5a7a6c"));
    }

    private static Bundle Sample() => new()
    {
        Version = 5,
        CreatedAt = Given.Now,
        Documents = [new BundleDocument("b.yaml", "# b\n"), new BundleDocument("a.yaml", "# one\n")],
        Connections =
        [
            new Connection
            {
                Name = "crm", Protocol = "postgres", Host = "db.example.com", Port = 5432, Database = "crm",
                Labels = new Dictionary<string, string> { ["tier"] = "gold", ["env"] = "prod" },
                Credential = new SealedCredential("s", "k1", "ZW5j", "Y3Q"),
            },
            Given.Connection() with { Tls = "disable" },
        ],
    };

    private static GrantClaims Grant(string digest) => new()
    {
        Id = "grt_1",
        Issuer = AppIds.Approval,
        Request = "apr_1",
        Kind = RequestKind.Bundle,
        Person = "per_alice",
        Connection = "",
        Digests = [digest],
        AllOf = [new RequestRequirement(["enrolled"], 1)],
        Approvers = [new GrantApprover("per_bob", "bob@example.com", Given.Now.ToUnixTimeSeconds())],
        IssuedAt = Given.Now.ToUnixTimeSeconds(),
        ExpiresAt = Given.Now.AddMinutes(10).ToUnixTimeSeconds(),
    };

    private const string Read = "- {name: read, effect: allow, when: {statements: [SELECT]}}\n";
    private const string Write = "- {name: write, effect: allow, when: {statements: [UPDATE]}}\n";

    private static Bundle Rules(long version, string rules) => new()
    {
        Version = version,
        CreatedAt = Given.Now,
        Documents = [new BundleDocument("p.yaml", Given.Policy("- {name: base, effect: deny, when: {where: absent}}\n" + rules))],
        Connections = [Given.Connection()],
    };

    private static string Digest(Bundle bundle) => BundleCodec.Digest(BundleCodec.Encode(bundle));

    private BundleEnvelope Signed(Bundle bundle, GrantClaims grant) => new BundleSigner(_policy).Seal(BundleCodec.Encode(bundle), bundle.Version, _approval.Sign(TokenTypes.Grant, grant), Given.Now);

    private BundleEnvelope Sealed(Bundle bundle, bool removal)
    {
        var grant = Grant(Digest(bundle));
        return Signed(bundle, removal ? grant with { Removal = true, Approvers = [] } : grant);
    }

    /// <summary>An envelope over removals in a row from an approved bundle.</summary>
    private BundleEnvelope Follows(Bundle bundle, params Bundle[] before) =>
        Sealed(bundle, removal: true) with { Before = [.. before.Select((each, index) => Sealed(each, removal: index > 0))] };

    private BundleEnvelope Envelope(Bundle bundle)
    {
        var payload = BundleCodec.Encode(bundle);
        return new BundleSigner(_policy).Seal(payload, bundle.Version, _approval.Sign(TokenTypes.Grant, Grant(BundleCodec.Digest(payload))), Given.Now);
    }

    private ValueTask<VerifiedBundle> VerifyAsync(BundleEnvelope envelope, BundleMark? highest, DateTimeOffset now, ControlTerms? control = null) =>
        new BundleVerifier(new Keys(new() { [AppIds.Policy] = _policy, [AppIds.Approval] = _approval })).VerifyAsync(envelope, highest, now, CancellationToken.None, control);

    private async Task RefusedAsync(string why, BundleEnvelope envelope, BundleMark? highest = null, DateTimeOffset? now = null) =>
        Assert.Contains(why, (await Assert.ThrowsAsync<BundleRejectedException>(async () => await VerifyAsync(envelope, highest, now ?? Given.Now))).Message, StringComparison.Ordinal);

    private sealed class Keys(Dictionary<string, SigningKey> keys) : ITrustedKeys
    {
        public ValueTask<VerificationKeys> GetAsync(string issuer, CancellationToken cancellation) => ValueTask.FromResult(new VerificationKeys([keys[issuer].PublicKey]));
    }
}
