using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres;

/// <summary>
/// Everything that goes to a client: the target's answers, and the gateway's own notices, which come only between two messages. One write at a
/// time; who comes while one is under way waits.
/// </summary>
internal sealed class ClientWriter(PostgresTransport transport) : IDisposable
{
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly OutputBuffer _own = new();
    private bool _withinMessage;

    /// <summary>Bytes written.</summary>
    public long Written { get; private set; }

    /// <summary>Writes bytes of the target's answers.</summary>
    /// <param name="first">First part.</param>
    /// <param name="second">Second part; may be empty.</param>
    /// <param name="endsWithinMessage">Whether the last message is not whole yet.</param>
    public async ValueTask WriteAsync(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second, bool endsWithinMessage)
    {
        if (!_gate.Wait(0))
        {
            await _gate.WaitAsync().ConfigureAwait(false);
        }

        try
        {
            if (!first.IsEmpty)
            {
                await transport.WriteAsync(first).ConfigureAwait(false);
            }

            if (!second.IsEmpty)
            {
                await transport.WriteAsync(second).ConfigureAwait(false);
            }

            Written += first.Length + second.Length;
            _withinMessage = endsWithinMessage;
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Writes messages of the gateway's own.</summary>
    /// <param name="write">Writes whole messages.</param>
    /// <param name="patience">How long to wait for a write that is under way.</param>
    /// <returns>False where that isn't possible now: the target's answer is in the middle of a message, or the client doesn't read.</returns>
    public async ValueTask<bool> TryWriteOwnAsync(Action<OutputBuffer> write, TimeSpan patience)
    {
        if (!await _gate.WaitAsync(patience).ConfigureAwait(false))
        {
            return false;
        }

        try
        {
            if (_withinMessage)
            {
                return false;
            }

            write(_own);
            await transport.WriteAsync(_own.Pending).ConfigureAwait(false);
            Written += _own.Length;
            return true;
        }
        finally
        {
            _own.Clear();
            _gate.Release();
        }
    }

    public void Dispose()
    {
        _own.Dispose();
        _gate.Dispose();
    }
}
