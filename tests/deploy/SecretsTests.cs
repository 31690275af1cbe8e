using System.Text.Json;
using Countersign.Deploy.Tests.Support;

namespace Countersign.Deploy.Tests;

/// <summary>eng/secrets.sh makes every secret, each for one purpose, once, and for its owner only.</summary>
[Trait("group", "distributed")]
public sealed class SecretsTests : IDisposable
{
    private readonly Folder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Secrets_are_random_distinct_and_for_the_owner_only()
    {
        await MakeAsync("--people alice,bob");
        var files = Directory.GetFiles(_folder["s"]);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(_folder["s"]));
        Assert.All(files, file => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file)));
        var random = files.Where(file => Path.GetFileName(file) is var name && (name.EndsWith("-password", StringComparison.Ordinal) || name.EndsWith("-token", StringComparison.Ordinal) || name.StartsWith("person-", StringComparison.Ordinal)))
            .Select(File.ReadAllText).ToList();
        Assert.True(random.Count >= 20);
        Assert.Equal(random.Count, random.Distinct().Count());
        Assert.All(random, secret => Assert.Matches("^[A-Za-z0-9]{40}$", secret));
        // What Countersign asks of the tokens of a sidecar and its service: both there, and two.
        foreach (var app in DaprFiles.Services)
        {
            Assert.NotEqual(Read($"{app}-dapr-api-token"), Read($"{app}-app-api-token"));
        }
    }

    [Fact]
    public async Task Another_run_changes_nothing()
    {
        await MakeAsync("");
        var before = Directory.GetFiles(_folder["s"]).ToDictionary(file => file, File.ReadAllText);
        await MakeAsync("");
        Assert.Equal(before.OrderBy(each => each.Key, StringComparer.Ordinal), Directory.GetFiles(_folder["s"]).ToDictionary(file => file, File.ReadAllText).OrderBy(each => each.Key, StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_sidecar_has_the_secrets_of_its_own_service_only()
    {
        await MakeAsync("");
        foreach (var app in DaprFiles.Services)
        {
            var secrets = JsonSerializer.Deserialize<Dictionary<string, string>>(Read($"{app}-sidecar.json"))!;
            var expected = new List<string> { "redis-password" };
            if (app == "approval")
            {
                expected.Add("state-connection");
            }

            if (app != "proxy")
            {
                expected.Add($"{app}-connection");
            }

            Assert.Equal(expected.Order(), secrets.Keys.Order());
            foreach (var other in DaprFiles.Services.Where(other => other is not "proxy" && other != app))
            {
                Assert.DoesNotContain(Read($"database-{other}-password"), Read($"{app}-sidecar.json"), StringComparison.Ordinal);
            }

            Assert.DoesNotContain(Read($"{app}-dapr-api-token"), Read($"{app}-sidecar.json"), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Components_find_every_secret_that_they_name()
    {
        await MakeAsync("");
        var redis = DaprFiles.Components.Where(each => each.Path.StartsWith("components/pubsub/redis/", StringComparison.Ordinal) || each.Path.StartsWith("components/resources/", StringComparison.Ordinal)).ToList();
        foreach (var (path, component) in redis)
        {
            foreach (var app in component.Scopes)
            {
                var secrets = JsonSerializer.Deserialize<Dictionary<string, string>>(Read($"{app}-sidecar.json"))!;
                Assert.All(component.Spec.Metadata.Select(item => item.SecretKeyRef).OfType<SecretReference>(), reference => Assert.True(secrets.ContainsKey(reference.Name), $"{path}: {reference.Name} for {app}"));
            }
        }
    }

    [Fact]
    public async Task For_containers_the_folder_keeps_others_out_and_certificates_verify()
    {
        await MakeAsync("--containers");
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(_folder["s"]));
        foreach (var authority in new[] { "dapr-ca", "postgres-ca" })
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_folder[$"s/{authority}.key"]));
        }

        (await Shell.BashAsync("openssl verify -CAfile postgres-ca.crt -verify_hostname postgres postgres.crt && openssl verify -CAfile dapr-ca.crt dapr-issuer.crt", _folder["s"])).Good();
        Assert.Contains("SSL Mode=VerifyFull", Read("identity-connection"), StringComparison.Ordinal);
        Assert.Contains("sslmode=verify-full", Read("approval-sidecar.json"), StringComparison.Ordinal);
        var names = Directory.GetFiles(_folder["s"]).Select(Path.GetFileName).ToHashSet();
        var compose = Yaml.Parse(Tree.Read("docker-compose.yml"));
        foreach (var (name, secret) in compose["secrets"]!.AsObject())
        {
            Assert.Equal($".countersign/secrets/{name}", secret!["file"]!.GetValue<string>());
            Assert.Contains(name, names);
        }
    }

    [Fact]
    public async Task The_user_of_redis_can_do_what_streams_need_and_nothing_administrative()
    {
        await MakeAsync("");
        var ended = (await Shell.BashAsync(
            """
            set -euo pipefail -f
            redis-server --bind 127.0.0.1 --port 0 --unixsocket "$PWD/redis.sock" --aclfile s/redis.acl --dir "$PWD" --save '' > redis.log &
            trap 'kill $!; wait $! || true' EXIT
            for i in $(seq 200); do [ -S redis.sock ] && break; sleep 0.05; done
            r() { redis-cli -s redis.sock "$@" 2>&1; }
            echo "stranger: $(r ping)"
            export REDISCLI_AUTH=$(cat s/redis-password)
            u() { r --no-auth-warning --user countersign "$@"; }
            echo "ping: $(u ping)"
            echo "group: $(u xgroup create audit recorder 0 mkstream)"
            id=$(u xadd audit minid '~' 1 '*' data x)
            echo "read: $(u xreadgroup group recorder recorder count 1 streams audit '>' | tail -n 1)"
            echo "pending: $(u xpending audit recorder - + 10 | tail -n 1)"
            echo "claim: $(u xclaim audit recorder recorder 0 "$id" | tail -n 1)"
            echo "ack: $(u xack audit recorder "$id")"
            echo "info: $(u info server | grep -c redis_version)"
            for command in flushall 'config get requirepass' 'keys *' 'acl list' shutdown 'module list' 'eval return(1) 0' 'slaveof no one' save; do echo "no: $(u $command)"; done
            """, _folder.Path)).Good().Output;
        Assert.Contains("stranger: NOAUTH", ended, StringComparison.Ordinal);
        Assert.Matches("(?s)ping: PONG.*group: OK.*read: x.*pending: 1.*claim: x.*ack: 1.*info: 1", ended);
        var refused = ended.Split('\n').Where(line => line.StartsWith("no: ", StringComparison.Ordinal)).ToList();
        Assert.Equal(9, refused.Count);
        Assert.All(refused, line => Assert.StartsWith("no: NOPERM", line, StringComparison.Ordinal));
    }

    private async Task MakeAsync(string options) => (await Shell.BashAsync($"./eng/secrets.sh '{_folder["s"]}' {options}")).Good();

    private string Read(string name) => File.ReadAllText(_folder[$"s/{name}"]);
}
