using Microsoft.Extensions.Logging;

namespace Countersign.Proxy.Postgres;

/// <summary>Log events of the PostgreSQL listener; ids 4100 to 4199 are its own.</summary>
internal static partial class PostgresLog
{
    [LoggerMessage(4100, LogLevel.Information, "PostgreSQL listener on {EndPoint}")]
    public static partial void Listening(this ILogger log, string endPoint);

    [LoggerMessage(4101, LogLevel.Information, "Session {Session} of {Person} on {Connection} from {Client} has begun")]
    public static partial void SessionBegan(this ILogger log, string session, string person, string connection, string client);

    [LoggerMessage(4102, LogLevel.Information, "Session {Session} has ended: {Reason}")]
    public static partial void SessionEnded(this ILogger log, string session, string reason);

    [LoggerMessage(4103, LogLevel.Information, "A client at {Client} was turned away ({Code}): {Message}")]
    public static partial void TurnedAway(this ILogger log, string client, string code, string message);

    [LoggerMessage(4104, LogLevel.Error, "Session {Session} ended by an unexpected error")]
    public static partial void SessionBroke(this ILogger log, string session, Exception error);

    [LoggerMessage(4105, LogLevel.Error, "Accepting a connection failed; going on")]
    public static partial void AcceptFailed(this ILogger log, Exception error);

    [LoggerMessage(4106, LogLevel.Warning, "A client at {Client} was turned away: the limit of {Limit} is reached")]
    public static partial void LimitReached(this ILogger log, string client, string limit);

    [LoggerMessage(4107, LogLevel.Error, "A connection from {Client} ended by an unexpected error")]
    public static partial void ConnectionBroke(this ILogger log, string client, Exception error);

    [LoggerMessage(4108, LogLevel.Warning, "Session {Session}: its end could not be recorded")]
    public static partial void EndNotRecorded(this ILogger log, string session, Exception error);

    [LoggerMessage(4109, LogLevel.Information, "Session {Session}: a cancel could not be passed on to its target")]
    public static partial void CancelNotPassed(this ILogger log, string session, Exception error);
}
