using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Countersign.Identity.Tests.Support;

/// <summary>Everything that was logged: what must never be in there is looked for.</summary>
internal sealed class CapturedLogs : ILoggerProvider
{
    public ConcurrentQueue<string> Lines { get; } = new();

    public ILogger CreateLogger(string categoryName) => new Writer(this, categoryName);

    public void Dispose()
    {
    }

    private sealed class Writer(CapturedLogs logs, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
            => logs.Lines.Enqueue($"{logLevel} {category} {formatter(state, exception)} {exception}");
    }
}
