using System.Globalization;
using System.Text;
using Countersign.Platform.Embedded;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Path;

namespace Countersign.Benchmarks.Scale;

/// <summary>The simulation: start, sessions, steady state, and the worst moments one after the other.</summary>
internal sealed class Simulation(Load load) : IAsyncDisposable
{
    private const string Connection = "db-0";
    private readonly StringBuilder _page = new();
    private readonly Traffic _traffic = new();
    private readonly List<SimulatedProxy> _proxies = [];
    private readonly List<SimulatedSpool> _spools = [];
    private readonly List<LiveSession> _sessions = [];
    private readonly List<Credential> _credentials = [];
    private readonly List<string> _assertions = [];
    private readonly CancellationTokenSource _stopping = new();
    private readonly string _folder = Directory.CreateTempSubdirectory("cs-scale-").FullName;
    private readonly List<Task> _shipping = [];
    private ControlPlane _plane = null!;
    private long _events;
    private long _eventBytes;

    public string Page => _page.ToString();

    public async Task RunAsync()
    {
        Log("starting identity, policy, approval, recorder over PostgreSQL");
        _plane = await ControlPlane.StartAsync(people: 20, load.Connections);
        await CredentialsAsync();
        await StartProxiesAsync();
        await LoginsAsync();
        await SessionsAsync();
        await SteadyAsync();
        await PolicyChangeAsync();
        await RevocationAsync();
        await RestartAsync(AppIds.Policy);
        await RestartAsync(AppIds.Identity);
        await RestartAsync(AppIds.Recorder);
        Say($"");
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        await Task.WhenAll(_proxies.Select(proxy => proxy.StopAsync()));
        await Task.WhenAny(Task.WhenAll(_shipping), Task.Delay(TimeSpan.FromSeconds(10)));
        if (_plane is not null)
        {
            await _plane.DisposeAsync();
        }

        foreach (var proxy in _proxies)
        {
            proxy.Dispose();
        }

        Directory.Delete(_folder, recursive: true);
        _stopping.Dispose();
    }

    /// <summary>Credentials of 20 engineers, and those of a month that nobody uses any more; then how long it takes to make one.</summary>
    private async Task CredentialsAsync()
    {
        foreach (var person in _plane.People.Skip(2))
        {
            for (var number = 0; number < 5; number++)
            {
                _credentials.Add(await CredentialAsync(person));
            }
        }

        await _plane.SqlAsync($$"""
            insert into countersign_identity.items (collection, key, value, version)
            select collection, 'old-' || n, convert_to(replace(replace(convert_from(value, 'utf8'), key, 'old-' || n), '"per_', '"per_old'), 'utf8'), version
            from (select * from countersign_identity.items where collection = 'credentials' limit 1) one, generate_series(1, {{load.OldCredentials}}) n
            """);
        var times = new List<double>();
        for (var number = 0; number < 10; number++)
        {
            var began = TimeProvider.System.GetTimestamp();
            await CredentialAsync(_plane.People[2 + number]);
            times.Add(TimeProvider.System.GetElapsedTime(began).TotalMilliseconds);
        }

        Figure("credential-created", At(times, 0.5), "<=100", "ms");
        Say($"Making an access credential beside {load.OldCredentials} old ones takes {At(times, 0.5):0} ms (median of 10).");
    }

    private static async Task<Credential> CredentialAsync(Fakes.Cluster.Visitor person)
    {
        var made = await person.GoodAsync(HttpMethod.Post, "identity/v1/credentials", new { connections = (string[])["*"], lifetimeSeconds = 7200 });
        var view = made.GetProperty("credential");
        return new Credential(view.GetProperty("id").GetString()!, view.GetProperty("userName").GetString()!, made.GetProperty("secret").GetString()!);
    }

    /// <summary>All proxies start within ten seconds: each enrols its key, and asks for beacons and the bundle.</summary>
    private async Task StartProxiesAsync()
    {
        Log($"starting {load.Proxies} proxies");
        var trust = Path.Combine(_plane.Cluster.Folder, "trust");
        var keys = new TrustFolder(trust, "generator");
        var addresses = ControlPlane.Services.ToDictionary(service => service, _plane.AddressOf);
        Directory.CreateDirectory(Path.Combine(trust, AppIds.Proxy));
        ControlPlane.Hear = async (happened, bytes) =>
        {
            Interlocked.Add(ref _events, _proxies.Count);
            Interlocked.Add(ref _eventBytes, (long)bytes * _proxies.Count);
            foreach (var proxy in _proxies)
            {
                await proxy.HearAsync(happened);
            }
        };
        var began = TimeProvider.System.GetTimestamp();
        var before = Cpu();
        for (var number = 1; number <= load.Proxies; number++)
        {
            var proxy = new SimulatedProxy($"sim-{number}", _folder, addresses, keys, _traffic);
            await File.WriteAllTextAsync(Path.Combine(trust, AppIds.Proxy, proxy.Id + ".new"), new VerificationKeys([proxy.Key.PublicKey]).ToJson());
            File.Move(Path.Combine(trust, AppIds.Proxy, proxy.Id + ".new"), Path.Combine(trust, AppIds.Proxy, proxy.Id + ".jwks.json"));
            _proxies.Add(proxy);
            await proxy.StartAsync(CancellationToken.None);
            var ahead = TimeSpan.FromSeconds(10.0 * number / load.Proxies) - TimeProvider.System.GetElapsedTime(began);
            if (ahead > TimeSpan.FromMilliseconds(15))
            {
                await Task.Delay(ahead);
            }
        }

        await UntilAsync("not all proxies have the bundle", 120, () => _proxies.TrueForAll(proxy => proxy.Freshness.IsFresh && proxy.Bundle.Version > 0));
        var took = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
        Figure("proxies-started", took, "-", "s");
        Part($"{load.Proxies} proxies start within 10 s");
        Say($"All have the bundle and are fresh after {took:0.0} s.");
        Traffic(TimeSpan.FromSeconds(took));
        Use(before, took);
    }

    private async Task LoginsAsync()
    {
        Log($"{load.Logins} logins");
        var before = Cpu();
        var began = TimeProvider.System.GetTimestamp();
        _traffic.Take();
        await Parallel.ForEachAsync(Enumerable.Range(0, load.Logins), new ParallelOptions { MaxDegreeOfParallelism = 64 }, async (number, _) =>
        {
            var assertion = await Logins.LogInAsync(_proxies[number % _proxies.Count], _credentials[number % _credentials.Count], Connection);
            lock (_assertions)
            {
                _assertions.Add(assertion);
            }
        });
        var took = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
        Figure("logins", load.Logins / took, "-", "logins/s, the generator beside them");
        Figure("login-cpu", (Cpu()[AppIds.Identity] - before[AppIds.Identity]) * 1000 / load.Logins, "-", "us of identity a login");
        Part($"{load.Logins} logins, 64 at a time");
        Say($"{load.Logins / took:0} logins/s; {(Cpu()[AppIds.Identity] - before[AppIds.Identity]) * 1000 / load.Logins:0} us of identity's processor each. Identity keeps nothing of a session that is open.");
        Traffic(TimeSpan.FromSeconds(took));
    }

    /// <summary>Every session begins: at the proxies, and in the recording.</summary>
    private async Task SessionsAsync()
    {
        Log($"{load.Sessions} sessions begin");
        var memory = _plane.Use(AppIds.Recorder).Resident;
        var claims = _assertions.Select(Logins.Read).ToList();
        var each = load.Sessions / load.Proxies;
        var before = Cpu();
        var began = TimeProvider.System.GetTimestamp();
        for (var index = 0; index < _proxies.Count; index++)
        {
            for (var number = 0; number < each; number++)
            {
                _sessions.Add(_proxies[index].Sessions.Add($"{index}-{number}", claims[((index * each) + number) % claims.Count]));
            }

            var spool = new SimulatedSpool(_proxies[index], each, (double)load.StatementsPerSecond / load.Proxies, index) { StartsPerSecond = each / 20.0 };
            _spools.Add(spool);
            _shipping.Add(Task.Run(() => spool.RunAsync(_stopping.Token)));
        }

        await UntilAsync("sessions don't begin", 180, () => _spools.TrueForAll(spool => spool.Open == each && spool.Behind < 10 * each));
        await UntilAsync("sessions aren't recorded", 180, () => _spools.Sum(spool => spool.Behind) < load.Sessions / 10);
        var took = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
        var after = _plane.Use(AppIds.Recorder);
        Part($"{load.Sessions} sessions begin within 20 s");
        Say($"Recorded after {took:0.0} s. The recorder grows by {(after.Resident - memory) * 1024 * 1024 / load.Sessions:0} B a session.");
        Figure("sessions-begun", load.Sessions / took, "-", "sessions/s");
        Figure("recorder-session", (after.Resident - memory) * 1024 * 1024 / load.Sessions, "-", "B of resident memory a session");
        Traffic(TimeSpan.FromSeconds(took));
        Use(before, took);
    }

    private async Task SteadyAsync()
    {
        Log("steady state");
        _spools.ForEach(spool => spool.Active = true);
        await Task.Delay(TimeSpan.FromSeconds(5));
        _traffic.Take();
        var (events, eventBytes) = (Interlocked.Exchange(ref _events, 0), Interlocked.Exchange(ref _eventBytes, 0));
        var before = Cpu();
        var entries = _spools.Sum(spool => spool.Acknowledged);
        var began = TimeProvider.System.GetTimestamp();
        var approvals = 0;
        while (TimeProvider.System.GetElapsedTime(began) < load.Steady)
        {
            var index = Random.Shared.Next(_assertions.Count);
            var proxy = _proxies.First(each => each.Id == $"sim-{(index % _proxies.Count) + 1}");
            await Approvals.RunOneAsync(_plane, proxy, _assertions[index], Connection);
            approvals++;
            await Task.Delay(200);
        }

        var took = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
        entries = _spools.Sum(spool => spool.Acknowledged) - entries;
        (events, eventBytes) = (Interlocked.Read(ref _events), Interlocked.Read(ref _eventBytes));
        var behind = _spools.Sum(spool => spool.Behind);
        Part($"Steady state, {took:0} s: {load.Sessions} sessions, {load.StatementsPerSecond} statements/s, {approvals / took:0.0} approvals/s");
        Say($"{entries / took:0} entries/s are acknowledged ({load.Sessions / 60} heartbeats/s among them), {behind} not yet. {events / took:0} events/s reach proxies, {eventBytes / took / 1024:0} KiB/s; the broker delivers them, which is not simulated.");
        Figure("steady-entries", entries / took, "-", "entries/s");
        Figure("steady-behind", behind / (entries / took), "<=5", "s of entries not acknowledged");
        Figure("steady-events", events / took, "-", "deliveries/s by the broker");
        Traffic(TimeSpan.FromSeconds(took));
        Use(before, took);
        foreach (var service in ControlPlane.Services)
        {
            Figure($"steady-{service}-cpu", (Cpu()[service] - before[service]) / took / 10, "-", "% of a core");
            Figure($"steady-{service}-memory", _plane.Use(service).Resident, "-", "MB resident");
        }
    }

    private async Task PolicyChangeAsync()
    {
        Log("policy change to all");
        Part($"A policy change reaches {load.Proxies} proxies");
        for (var number = 1; number <= 2; number++)
        {
            var before = Cpu();
            var had = _proxies.Max(proxy => proxy.Bundle.Version);
            var request = await _plane.ProposeAsync(number);
            _traffic.Take();
            var (_, approved) = await _plane.People[1].ApproveAsync(request);
            await UntilAsync("a proxy lacks the bundle", 120, () => _proxies.TrueForAll(proxy => proxy.Bundle.Version > had));
            var took = _proxies.Select(proxy => (proxy.Bundle.At - approved).TotalMilliseconds).ToList();
            Say($"Change {number}: p50 {At(took, 0.5):0} ms, p99 {At(took, 0.99):0} ms, last {took.Max():0} ms after the approver's answer. At most {_traffic.Peak * 10}/s requests. Policy's largest memory {_plane.Use(AppIds.Policy).Largest:0} MB.");
            if (number == 2)
            {
                Figure("change-to-proxies-p50", At(took, 0.5), "-", "ms");
                Figure("change-to-proxies-p99", At(took, 0.99), "<=5000", "ms");
                Figure("change-policy-memory", _plane.Use(AppIds.Policy).Largest, "-", "MB at most");
                Traffic(TimeSpan.FromMilliseconds(took.Max()), skip: "recorder");
                Use(before, took.Max() / 1000);
            }

            await _plane.Two.InForceAsync(request);
        }
    }

    private async Task RevocationAsync()
    {
        Log("revocation to all");
        var claims = _assertions.Select(Logins.Read).ToList();
        var credential = claims.GroupBy(each => each.Credential).OrderByDescending(group => group.Count()).First().Key;
        var owner = _plane.People.First(person => person.Id == claims.First(each => each.Credential == credential).Person);
        var concerned = _sessions.Where(session => session.Claims.Credential == credential).ToList();
        _traffic.Take();
        await owner.GoodAsync(HttpMethod.Delete, $"identity/v1/credentials/{credential}");
        var began = TimeProvider.System.GetTimestamp();
        await UntilAsync("a session goes on", 60, () => concerned.TrueForAll(session => session.Ending.IsCancellationRequested));
        var took = TimeProvider.System.GetElapsedTime(began).TotalMilliseconds;
        await Task.Delay(500);
        Part($"A revocation that concerns {concerned.Count} sessions");
        Say($"The last one is told to end {took:0} ms after the answer.");
        Figure("revocation-to-last", took, "<=5000", "ms");
        Traffic(TimeSpan.FromMilliseconds(took + 500), skip: "recorder");
    }

    /// <summary>A service is away for ten seconds: all proxies ask for it, and come back at once.</summary>
    private async Task RestartAsync(string service)
    {
        Log($"{service} restarts");
        await _plane.Cluster[service].StopAsync();
        await Task.Delay(TimeSpan.FromSeconds(10));
        var behind = _spools.Sum(spool => spool.Behind);
        _plane.Cluster[service].Start();
        await _plane.Cluster[service].AwaitAsync(ready: false, CancellationToken.None);
        _traffic.Take();
        var began = TimeProvider.System.GetTimestamp();
        if (service == AppIds.Recorder)
        {
            var rate = load.Sessions / 60 * 2;
            await UntilAsync("the recorder does not catch up", 120, () => _spools.Sum(spool => spool.Behind) < Math.Max(rate, load.StatementsPerSecond) * 3);
        }
        else
        {
            var since = DateTimeOffset.UtcNow;
            await UntilAsync("a proxy has no word", 60, () => _proxies.TrueForAll(proxy => (service == AppIds.Policy ? proxy.Freshness.PolicyAge : proxy.Freshness.IdentityAge) is { } age && age < DateTimeOffset.UtcNow - since + TimeSpan.FromSeconds(2)));
        }

        var took = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
        var before = Cpu();
        await Task.Delay(TimeSpan.FromSeconds(4));
        var peak = _traffic.Peak;
        Part($"{service} is away for 10 s and comes back");
        Say(service == AppIds.Recorder
            ? (FormattableString)$"{behind} entries wait at the proxies; {took:0.0} s after the start they are acknowledged. {_plane.Use(service).Resident:0} MB resident, at most {_plane.Use(service).Largest:0}."
            : $"All proxies have its word again {took:0.0} s after it listens. {_plane.Use(service).Resident:0} MB resident, at most {_plane.Use(service).Largest:0}.");
        Say($"At most {peak * 10}/s requests (most within 100 ms, all services), {(Cpu()[service] - before[service]) / 40:0} % of a core in the 4 s after.");
        Figure($"{service}-back", took, "<=20", "s");
        Figure($"{service}-back-peak", peak * 10, "-", "requests/s within 100 ms");
    }

    private Dictionary<string, double> Cpu() => ControlPlane.Services.ToDictionary(service => service, service => _plane.Use(service).Cpu);

    private void Traffic(TimeSpan took, string? skip = null)
    {
        Say($"");
        Say($"| message | a second | KiB/s | p50 | p99 | failed |");
        Say($"| --- | --- | --- | --- | --- | --- |");
        foreach (var (name, kind) in _traffic.Take())
        {
            if (skip is null || !name.StartsWith(skip, StringComparison.Ordinal))
            {
                Say($"| {name} | {kind.Count / took.TotalSeconds:0.0} | {kind.Bytes / took.TotalSeconds / 1024:0.0} | {At(kind.Milliseconds, 0.5):0.0} ms | {At(kind.Milliseconds, 0.99):0.0} ms | {kind.Failed} |");
            }
        }

        Say($"");
    }

    private void Use(Dictionary<string, double> before, double seconds)
    {
        Say($"| service | % of a core | MB resident | MB in the database |");
        Say($"| --- | --- | --- | --- |");
        foreach (var service in ControlPlane.Services)
        {
            var now = _plane.Use(service);
            Say($"| {service} | {(now.Cpu - before[service]) / seconds / 10:0} | {now.Resident:0} | {_plane.StateAsync(service).GetAwaiter().GetResult():0} |");
        }

        Say($"");
    }

    private void Part(FormattableString title)
    {
        Say($"");
        Say($"## {title.ToString(CultureInfo.InvariantCulture)}");
        Say($"");
    }

    private void Say(FormattableString line) => _page.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private static void Log(string what) => Console.Error.WriteLine($"{DateTimeOffset.UtcNow:HH:mm:ss} {what}");

    private static void Figure(string name, double value, string goal, string unit) =>
        Console.Out.WriteLine($"{name}\t{value.ToString(value < 10 ? "0.00" : "0", CultureInfo.InvariantCulture)}\t{goal}\t{unit}");

    private static double At(IEnumerable<double> values, double share)
    {
        var sorted = values.Order().ToList();
        return sorted[Math.Clamp((int)Math.Ceiling(share * sorted.Count) - 1, 0, sorted.Count - 1)];
    }

    private static async Task UntilAsync(string what, int seconds, Func<bool> holds)
    {
        for (var began = TimeProvider.System.GetTimestamp(); !holds(); await Task.Delay(20))
        {
            if (TimeProvider.System.GetElapsedTime(began) > TimeSpan.FromSeconds(seconds))
            {
                throw new TimeoutException(what);
            }
        }
    }
}
