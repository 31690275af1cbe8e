using System.Buffers;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Recorder.Contracts;
using Countersign.Recorder.Format;

namespace Countersign.Benchmarks.Scale;

/// <summary>
/// Ships the entries of one proxy's sessions as its spool does (services/proxy/Path/Record): chained and numbered, sealed by the proxy's key a batch later, gathered
/// for as long as a proxy gathers, sent again until they are acknowledged. Nothing is written to a disk here.
/// </summary>
internal sealed class SimulatedSpool(SimulatedProxy proxy, int sessions, double statementsPerSecond, int seed)
{
    private static readonly TimeSpan ShipInterval = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);
    private readonly Random _dice = new(seed);
    private readonly List<Recording> _recordings = [];
    private readonly ArrayBufferWriter<byte> _frames = new();
    private readonly Sealer _sealer = new(proxy.Key);
    private readonly HashSet<Recording> _touched = [];
    private DateTimeOffset _heartbeat = DateTimeOffset.UtcNow + (Minute * new Random(seed + 1).NextDouble());
    private double _due;
    private int _entries;
    private DateTimeOffset _notBefore;
    private int _failures;

    /// <summary>Entries that the recorder has acknowledged.</summary>
    public long Acknowledged { get; private set; }

    /// <summary>Entries that are made and not acknowledged.</summary>
    public long Behind { get; private set; }

    public int Open => _recordings.Count;

    /// <summary>How fast sessions begin, a second.</summary>
    public double StartsPerSecond { get; set; }

    /// <summary>Whether statements run.</summary>
    public bool Active { get; set; }

    public async Task RunAsync(CancellationToken cancellation)
    {
        var last = DateTimeOffset.UtcNow;
        var starts = 0.0;
        var pause = ShipInterval * _dice.NextDouble();
        while (!cancellation.IsCancellationRequested)
        {
            await Task.Delay(pause, CancellationToken.None);
            var now = DateTimeOffset.UtcNow;
            var seconds = Math.Min((now - last).TotalSeconds, 60);
            last = now;
            SealTouched();
            for (starts += StartsPerSecond * seconds; starts >= 1 && _recordings.Count < sessions; starts--)
            {
                Begin();
            }

            for (_due += Active ? statementsPerSecond * seconds * 2 * _dice.NextDouble() : 0; _due >= 1 && _recordings.Count > 0; _due--)
            {
                var recording = _recordings[_dice.Next(_recordings.Count)];
                var operation = ++recording.Operations;
                Append(recording, EntryType.Operation, new OperationEntry { Operation = operation, Kind = "query", Text = "select status, total from orders where id = 123456", Decision = "allow", Rules = ["starter/reads"], BundleVersion = 3 });
                Append(recording, EntryType.Completion, new CompletionEntry { Operation = operation, Outcome = "ok", Rows = 1, Bytes = 64, DurationMicroseconds = 900 });
            }

            if (now >= _heartbeat)
            {
                _heartbeat += Minute;
                foreach (var recording in _recordings)
                {
                    Append(recording, EntryType.SessionHeartbeat, new { operations = recording.Operations });
                }
            }

            pause = await ShipAsync();
        }
    }

    private void Begin()
    {
        var recording = new Recording($"ses_{proxy.Id}-{_recordings.Count:d5}-{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(6))}");
        _recordings.Add(recording);
        Append(recording, EntryType.SessionStart, new SessionStartEntry
        {
            Principal = "pri_simulated",
            Person = $"per_simulated{_dice.Next(20_000)}",
            Name = "somebody@example.com",
            Credential = "crd_simulated",
            Connection = $"db-{_dice.Next(400)}",
            Database = "postgres",
            DatabaseRole = "app",
            Protocol = "postgres",
            Client = "10.0.0.1:50000",
            Proxy = proxy.Id,
        });
    }

    private void SealTouched()
    {
        var now = DateTimeOffset.UtcNow;
        foreach (var recording in _touched.Where(each => now - each.SealedAt >= TimeSpan.FromSeconds(1)).ToList())
        {
            _touched.Remove(recording);
            recording.SealedAt = now;
            Append(recording, EntryType.Seal, Seal.Create(recording.Id, recording.Sequence, recording.Previous, _sealer).ToPayload());
        }
    }

    private void Append<T>(Recording recording, EntryType type, T body)
    {
        Append(recording, type, JsonSerializer.SerializeToUtf8Bytes(body, JsonSerializerOptions.Web));
        _touched.Add(recording);
    }

    private void Append(Recording recording, EntryType type, byte[] payload)
    {
        var entry = Entry.Create(
            type, RandomNumberGenerator.GetBytes(16), recording.Id, ++recording.Sequence, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() * 1000, recording.Previous, payload);
        recording.Previous = entry.Commitment;
        EntryFrame.Write(_frames, entry);
        _entries++;
        Behind++;
    }

    // One attempt at a time: sessions go on while the recorder is away.
    private async Task<TimeSpan> ShipAsync()
    {
        if (_entries == 0 || DateTimeOffset.UtcNow < _notBefore)
        {
            return ShipInterval;
        }

        try
        {
            using var content = new ReadOnlyMemoryContent(_frames.WrittenMemory);
            content.Headers.ContentType = new MediaTypeHeaderValue("application/vnd.countersign.entries");
            using var response = await proxy.Create(AppIds.Recorder).PostAsync(new Uri("v1/batches", UriKind.Relative), content, CancellationToken.None);
            response.EnsureSuccessStatusCode();
            var result = (await response.Content.ReadFromJsonAsync<BatchResult>(CancellationToken.None))!;
            if (result.Refused.Count > 0)
            {
                throw new InvalidOperationException("the recorder refuses: " + result.Refused.Values.First());
            }

            Acknowledged += _entries;
            Behind -= _entries;
            var gather = TimeSpan.FromMilliseconds(Math.Clamp(result.GatherMilliseconds, 0, 5000));
            _frames.ResetWrittenCount();
            (_entries, _failures) = (0, 0);
            return gather > ShipInterval ? gather : ShipInterval;
        }
        catch (Exception error) when (error is HttpRequestException or OperationCanceledException)
        {
            _notBefore = DateTimeOffset.UtcNow + TimeSpan.FromMilliseconds(Math.Min(5000, 100 << Math.Min(_failures++, 6)));
            return ShipInterval;
        }
    }

    private sealed class Recording(string id)
    {
        public string Id => id;

        public long Sequence { get; set; }

        public long Operations { get; set; }

        public Hash256 Previous { get; set; }

        public DateTimeOffset SealedAt { get; set; }
    }

    private sealed class Sealer(SigningKey key) : ISealSigner
    {
        public string KeyId => key.KeyId;

        public byte[] Sign(ReadOnlySpan<byte> data) => key.SignData(data);
    }
}
