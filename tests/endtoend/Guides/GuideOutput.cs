namespace Countersign.EndToEnd.Tests.Guides;

/// <summary>Lines as a program writes them, compared with what a guide shows: in order, each of them; a line <c>…</c> of the guide stands for any number of lines.</summary>
internal sealed class GuideOutput
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(60);

    private readonly Lock _gate = new();
    private readonly Queue<string> _lines = [];
    private TaskCompletionSource _more = New();
    private bool _ended;
    private bool _skipping;

    /// <summary>Takes whatever a reader gives until it ends.</summary>
    public async Task FillAsync(TextReader reader)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            Add(() => _lines.Enqueue(line));
        }

        Add(() => _ended = true);
    }

    /// <summary>Waits until everything that the guide shows has come.</summary>
    /// <exception cref="GuideException">Something else came, or nothing.</exception>
    public async Task ExpectAsync(IReadOnlyList<string> shown)
    {
        foreach (var each in shown)
        {
            if (each.Trim() == "…")
            {
                _skipping = true;
                continue;
            }

            while (true)
            {
                var line = await NextAsync(each);
                if (Guide.Fits(each, line))
                {
                    break;
                }

                if (!_skipping)
                {
                    throw new GuideException($"shown: {each}\n came: {line}\n then: {string.Join("\n       ", Rest())}");
                }
            }

            _skipping = false;
        }
    }

    /// <summary>What came and wasn't looked at.</summary>
    public IReadOnlyList<string> Rest()
    {
        lock (_gate)
        {
            return [.. _lines];
        }
    }

    private async Task<string> NextAsync(string awaited)
    {
        while (true)
        {
            Task more;
            lock (_gate)
            {
                if (_lines.TryDequeue(out var line))
                {
                    return line;
                }

                if (_ended)
                {
                    throw new GuideException($"shown: {awaited}\n came: nothing, the program has ended");
                }

                more = _more.Task;
            }

            try
            {
                await more.WaitAsync(Longest, TestContext.Current.CancellationToken);
            }
            catch (TimeoutException)
            {
                throw new GuideException($"shown: {awaited}\n came: nothing in {Longest.TotalSeconds} s");
            }
        }
    }

    private void Add(Action change)
    {
        TaskCompletionSource more;
        lock (_gate)
        {
            change();
            more = _more;
            _more = New();
        }

        more.SetResult();
    }

    private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}

/// <summary>A guide says something that isn't so.</summary>
public sealed class GuideException(string message) : Exception(message);
