using Countersign.Approval.Contracts;
using Countersign.Approval.Grants;
using Countersign.Platform.Tokens;

namespace Countersign.Approval.Tests;

/// <summary>What leaves the process and must never change: digests, grants, visible text.</summary>
[Trait("group", "unit")]
public sealed class FormatTests
{
    private static readonly OperationIdentity Plain = new()
    {
        Protocol = "postgres",
        Text = "DELETE FROM orders WHERE id = 7",
        Connection = "shop",
        Database = "shop",
        DatabaseRole = "app",
        Person = "per_alice",
    };

    private static readonly OperationIdentity Full = Plain with
    {
        Text = "UPDATE kunden SET name = $1 WHERE id = $2 -- ö",
        Parameters = [new OperationParameter(25, 0, "Jürgen"u8.ToArray()), new OperationParameter(23, 1, new byte[] { 0, 0, 0, 7 }), new OperationParameter(0, 0, null)],
        Context = new Dictionary<string, string> { ["search_path"] = "public", ["DateStyle"] = "ISO, MDY", ["transaction"] = "none" },
    };

    [Fact]
    public void Operation_digests_are_frozen()
    {
        Assert.Equal("6ca0ae46d85421abdffd266438a0f6c403cf4ca20d7078bdf566267c019ad0e7", OperationDigest.Compute(Plain));
        Assert.Equal("4ae1f415fa4c186036c1aff87634cacdd45c748c13eaa00138593b5496d11d86", OperationDigest.Compute(Full));
    }

    [Fact]
    public void The_digest_is_the_hash_of_the_documented_bytes()
    {
        var bytes = new List<byte>();
        void Text(string text)
        {
            var utf8 = System.Text.Encoding.UTF8.GetBytes(text);
            bytes.AddRange([0, 0, 0, (byte)utf8.Length, .. utf8]);
        }

        bytes.AddRange("countersign operation digest v1\n"u8.ToArray());
        Text("postgres");
        Text(Full.Text);
        bytes.AddRange([0, 0, 0, 3]);
        bytes.AddRange([0, 0, 0, 25, 0, 0, 1]);
        Text("Jürgen");
        bytes.AddRange([0, 0, 0, 23, 0, 1, 1, 0, 0, 0, 4, 0, 0, 0, 7]);
        bytes.AddRange([0, 0, 0, 0, 0, 0, 0]);
        foreach (var text in new[] { "shop", "shop", "app", "per_alice" })
        {
            Text(text);
        }

        bytes.AddRange([0, 0, 0, 3]);
        foreach (var text in new[] { "DateStyle", "ISO, MDY", "search_path", "public", "transaction", "none" })
        {
            Text(text);
        }

        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData([.. bytes])), OperationDigest.Compute(Full));
    }

    [Fact]
    public void Whatever_an_approval_is_bound_to_changes_the_digest()
    {
        OperationIdentity[] others =
        [
            Full with { Protocol = "mysql" },
            Full with { Text = Full.Text + " " },
            Full with { Connection = "shop2" },
            Full with { Database = "shop2" },
            Full with { DatabaseRole = "root" },
            Full with { Person = "per_bob" },
            Full with { Connection = "sho", Database = "pshop" },
            Full with { Parameters = [.. Full.Parameters.Reverse()] },
            Full with { Parameters = [.. Full.Parameters.Take(2)] },
            Full with { Parameters = [Full.Parameters[0] with { Type = 1043 }, .. Full.Parameters.Skip(1)] },
            Full with { Parameters = [Full.Parameters[0] with { Format = 1 }, .. Full.Parameters.Skip(1)] },
            Full with { Parameters = [Full.Parameters[0], Full.Parameters[1], new OperationParameter(0, 0, Array.Empty<byte>())] },
            Full with { Context = new Dictionary<string, string>(Full.Context) { ["search_path"] = "evil, public" } },
            Full with { Context = new Dictionary<string, string>(Full.Context) { ["role"] = "admin" } },
        ];
        Assert.Equal(others.Length + 1, others.Append(Full).Select(OperationDigest.Compute).Distinct().Count());
        var reordered = Full with { Context = new Dictionary<string, string>(Full.Context.Reverse()) };
        Assert.Equal(OperationDigest.Compute(Full), OperationDigest.Compute(reordered));
    }

    [Fact]
    public void Request_digests_are_frozen()
    {
        var (one, two) = (new string('1', 64), new string('a', 64));
        Assert.Equal("a4c8a6a0b9496741fd395899de36ae6b521d96a6900ab2c08d9d0893016d0cdf", RequestDigest.Compute([one]));
        Assert.Equal("2d6747f5266bddd4fed727fcbf8723a878bbcfb21b0ee601a65442c245fab3ea", RequestDigest.Compute([one, two]));
        Assert.NotEqual(RequestDigest.Compute([one, two]), RequestDigest.Compute([two, one]));
        Assert.Throws<FormatException>(() => RequestDigest.Compute(["12"]));
    }

    [Fact]
    public void Window_digests_are_frozen()
    {
        var window = new AccessWindow(3600, ["UPDATE", "SELECT"], ["public.orders"]);
        const string Frozen = "be822b619994b806fdb4d76542836b1a4b7b3c91fdec1b6885ace679c5ad0b42";
        Assert.Equal(Frozen, AccessWindowDigest.Compute("per_alice", "shop", "shop", window));
        Assert.Equal(Frozen, AccessWindowDigest.Compute("per_alice", "shop", "shop", window with { Statements = ["SELECT", "UPDATE", "SELECT"] }));
        string[] others =
        [
            AccessWindowDigest.Compute("per_bob", "shop", "shop", window), AccessWindowDigest.Compute("per_alice", "shop2", "shop", window),
            AccessWindowDigest.Compute("per_alice", "shop", "shop2", window), AccessWindowDigest.Compute("per_alice", "shop", "shop", window with { Seconds = 3601 }),
            AccessWindowDigest.Compute("per_alice", "shop", "shop", window with { Statements = ["SELECT"] }),
            AccessWindowDigest.Compute("per_alice", "shop", "shop", window with { Relations = ["public.order", "s"] }),
            AccessWindowDigest.Compute("per_alice", "shop", "shop", window with { Statements = ["SELECT"], Relations = ["UPDATE", "public.orders"] }),
        ];
        Assert.Equal(others.Length + 1, others.Append(Frozen).Distinct().Count());
        Assert.Contains(Frozen, File.ReadAllText(Path.Combine(Repository.Root, "docs/formats/approval-request.md")), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, new[] { "otp" })]
    [InlineData(60, new string[0])]
    [InlineData(60, new[] { "otp", "pwd" })]
    public async Task A_grant_says_how_approvers_logged_in_in_a_way_that_verifiers_can_read(int? age, string[] amr)
    {
        using var key = SigningKey.Create();
        var grant = key.Sign(TokenTypes.Grant, new GrantClaims
        {
            Id = "apr_x:grant",
            Issuer = "approval",
            Request = "apr_x",
            Kind = RequestKind.Operation,
            Person = "per_alice",
            Connection = "shop",
            Digests = [new string('1', 64)],
            AllOf = [new RequestRequirement(["dba"], 1)],
            Approvers = [new GrantApprover("per_bob", "bob@example.com", 1_767_225_600)],
            Assurance = new RequestAssurance(age, amr),
            IssuedAt = 1_767_225_600,
            ExpiresAt = 1_767_226_200,
        });
        var read = await new VerificationKeys([key.PublicKey]).VerifyAsync<GrantClaims>(grant, TokenTypes.Grant, "approval", null, DateTimeOffset.FromUnixTimeSeconds(1_767_225_700));
        Assert.Equal(age, read.Assurance!.MaxAgeSeconds);
        Assert.Equal(amr, read.Assurance.Amr);
    }

    [Fact]
    public async Task Grants_are_frozen()
    {
        var claims = new GrantClaims
        {
            Id = "apr_x:grant",
            Issuer = "approval",
            Request = "apr_x",
            Kind = RequestKind.Operation,
            Person = "per_alice",
            Connection = "shop",
            Digests = [new string('1', 64)],
            AllOf = [new RequestRequirement(["dba"], 1)],
            Approvers = [new GrantApprover("per_bob", "bob@example.com", 1_767_225_600)],
            IssuedAt = 1_767_225_600,
            ExpiresAt = 1_767_226_200,
        };
        const string Payload = """
            {"jti":"apr_x:grant","iss":"approval","request":"apr_x","kind":"operation","person":"per_alice","connection":"shop","digests":["1111111111111111111111111111111111111111111111111111111111111111"],"all_of":[{"anyOf":["dba"],"quorum":1}],"approvers":[{"person":"per_bob","name":"bob@example.com","at":1767225600}],"bootstrap":false,"iat":1767225600,"exp":1767226200}
            """;
        using var key = SigningKey.Create();
        var grant = key.Sign(TokenTypes.Grant, claims);
        var parts = grant.Split('.').Take(2).Select(part => System.Text.Encoding.UTF8.GetString(System.Buffers.Text.Base64Url.DecodeFromChars(part))).ToArray();
        Assert.Equal(Payload, parts[1]);
        using var header = System.Text.Json.JsonDocument.Parse(parts[0]);
        Assert.Equal("ES256", header.RootElement.GetProperty("alg").GetString());
        Assert.Equal("cs-grant+jwt", header.RootElement.GetProperty("typ").GetString());
        Assert.Equal(key.KeyId, header.RootElement.GetProperty("kid").GetString());
        var read = await new VerificationKeys([key.PublicKey]).VerifyAsync<GrantClaims>(
            grant, TokenTypes.Grant, "approval", null, DateTimeOffset.FromUnixTimeSeconds(1_767_225_700));
        Assert.Equal(claims.Digests, read.Digests);
        var late = DateTimeOffset.FromUnixTimeSeconds(1_767_226_206);
        await Assert.ThrowsAsync<TokenRejectedException>(async () =>
            await new VerificationKeys([key.PublicKey]).VerifyAsync<GrantClaims>(grant, TokenTypes.Grant, "approval", null, late));
    }

    [Fact]
    public async Task What_a_replaced_key_signed_still_verifies()
    {
        var directory = System.IO.Directory.CreateTempSubdirectory("cs-grant-keys");
        try
        {
            var published = "";
            var path = Path.Combine(directory.FullName, "approval.key");
            using var first = SigningKey.LoadOrCreate(path);
            string before, between;
            using (var keys = new GrantKeys(first, directory.FullName, jwks => published = jwks))
            {
                before = keys.Sign(TokenTypes.Grant, new { iss = "approval", n = 1 });
                keys.Rotate();
                Assert.NotEqual(first.KeyId, keys.KeyId);
                between = keys.Sign(TokenTypes.Grant, new { iss = "approval", n = 2 });
                keys.Rotate();
                await Verify(VerificationKeys.FromJson(published), before, between, keys.Sign(TokenTypes.Grant, new { iss = "approval", n = 3 }));
            }

            // After a restart too; the private parts of the old keys are gone, and nobody else may read what there is.
            using var current = SigningKey.LoadOrCreate(path);
            using var reloaded = new GrantKeys(current, directory.FullName, jwks => published = jwks);
            reloaded.Publish();
            await Verify(VerificationKeys.FromJson(published), before, between, reloaded.Sign(TokenTypes.Grant, new { iss = "approval", n = 4 }));
            Assert.Equal(["approval.key", "approval.previous.jwks.json"], directory.GetFiles().Select(file => file.Name).Order());
            Assert.DoesNotContain("\"d\"", File.ReadAllText(Path.Combine(directory.FullName, "approval.previous.jwks.json")), StringComparison.Ordinal);
            Assert.All(directory.GetFiles(), file => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, file.UnixFileMode));
        }
        finally
        {
            directory.Delete(recursive: true);
        }

        static async Task Verify(VerificationKeys keys, params string[] tokens)
        {
            foreach (var token in tokens)
            {
                await keys.VerifyAsync<Dictionary<string, object>>(token, TokenTypes.Grant, "approval", null, DateTimeOffset.UtcNow, requireExpiry: false);
            }
        }
    }

    [Theory]
    [InlineData("SELECT 1;\n\tä", "SELECT 1;\n\tä")]
    [InlineData("a\u202Eb", "a⟦U+202E⟧b")]
    [InlineData("a\u200Bb\uFEFF", "a⟦U+200B⟧b⟦U+FEFF⟧")]
    [InlineData("a\u00A0b\u3000c", "a⟦U+00A0⟧b⟦U+3000⟧c")]
    [InlineData("a\0b\rc\u001B[31m\u007F", "a⟦U+0000⟧b⟦U+000D⟧c⟦U+001B⟧[31m⟦U+007F⟧")]
    [InlineData("⟦U+202E⟧", "⟦U+27E6⟧U+202E⟦U+27E7⟧")]
    [InlineData("\u2028\u2029\u2066", "⟦U+2028⟧⟦U+2029⟧⟦U+2066⟧")]
    [InlineData("\u3164\u115F\uFFA0\u2800", "⟦U+3164⟧⟦U+115F⟧⟦U+FFA0⟧⟦U+2800⟧")]
    [InlineData("e\u0301", "e\u0301")]
    [InlineData("e\u0301\u0301\u0301", "e\u0301\u0301⟦U+0301⟧")]
    [InlineData("\u0301a", "⟦U+0301⟧a")]
    [InlineData("\U000E0041\uFE0F", "⟦U+E0041⟧⟦U+FE0F⟧")]
    [InlineData("日本 🙂", "日本 🙂")]
    public void Nothing_is_invisible(string text, string visible) => Assert.Equal(visible, VisibleText.Escape(text));

    [Fact]
    public void Half_a_character_is_shown_as_such() => Assert.Equal("a⟦U+D800⟧x⟦U+DC00⟧", VisibleText.Escape("a\uD800x\uDC00"));
}
