using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Countersign.Platform.Hosting;

/// <summary>Ends a request with problem details (RFC 9457). The message is shown to the caller.</summary>
public sealed class ProblemException : Exception
{
    /// <summary>A problem.</summary>
    /// <param name="status">HTTP status.</param>
    /// <param name="code">Stable code that programs can branch on, e.g. <c>digest-mismatch</c>.</param>
    /// <param name="detail">For people; no secrets.</param>
    public ProblemException(int status, string code, string detail)
        : base(detail)
    {
        Status = status;
        Code = code;
    }

    /// <summary>Without details: an internal error.</summary>
    public ProblemException()
        : this(StatusCodes.Status500InternalServerError, "internal", "Internal error.")
    {
    }

    /// <summary>An internal error with a text for people.</summary>
    public ProblemException(string message)
        : this(StatusCodes.Status500InternalServerError, "internal", message)
    {
    }

    /// <summary>An internal error with a text for people.</summary>
    public ProblemException(string message, Exception inner)
        : base(message, inner)
    {
        Status = StatusCodes.Status500InternalServerError;
        Code = "internal";
    }

    /// <summary>HTTP status.</summary>
    public int Status { get; }

    /// <summary>Stable code.</summary>
    public string Code { get; }
}

/// <summary>Problem details with the member <c>code</c>.</summary>
public static class Problems
{
    internal const string CodeMember = "code";

    /// <summary>A result for a route handler.</summary>
    /// <param name="status">HTTP status.</param>
    /// <param name="code">Stable code.</param>
    /// <param name="detail">For people; no secrets.</param>
    public static IResult Result(int status, string code, string detail)
        => Results.Problem(detail: detail, statusCode: status, extensions: new Dictionary<string, object?> { [CodeMember] = code });

    /// <summary>Writes a problem where there is no result to return.</summary>
    internal static Task WriteAsync(HttpContext context, int status, string code, string detail) => Result(status, code, detail).ExecuteAsync(context);

    internal static void Complete(ProblemDetailsContext context) => context.ProblemDetails.Extensions.TryAdd(CodeMember, CodeOf(context.ProblemDetails.Status ?? 500));

    internal static string CodeOf(int status) => status switch
    {
        400 => "bad-request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not-found",
        405 => "method-not-allowed",
        409 => "conflict",
        413 => "too-large",
        415 => "unsupported-media-type",
        429 => "too-many",
        503 => "unavailable",
        < 500 => "bad-request",
        _ => "internal",
    };
}

/// <summary>Turns exceptions into problems; what isn't meant for the caller stays in the log.</summary>
internal sealed partial class ProblemExceptionHandler(ILogger<ProblemExceptionHandler> logger) : IExceptionHandler
{
    public async ValueTask<bool> TryHandleAsync(HttpContext httpContext, Exception exception, CancellationToken cancellationToken)
    {
        var (status, code, detail) = exception switch
        {
            ProblemException problem => (problem.Status, problem.Code, problem.Message),
            BadHttpRequestException bad => (bad.StatusCode, Problems.CodeOf(bad.StatusCode), Reason(bad)),
            TokenRejectedException rejected => (401, "token-rejected", rejected.Message),
            PortUnavailableException unavailable => (503, "unavailable", unavailable.Message),
            HttpRequestException => (503, "unavailable", "Another service that is needed can't be reached."),
            OperationCanceledException when httpContext.RequestAborted.IsCancellationRequested => (499, "cancelled", "The caller went away."),
            _ => (500, "internal", "Internal error."),
        };
        if (status >= 500)
        {
            LogFailed(exception, httpContext.Request.Method, httpContext.GetEndpoint()?.DisplayName ?? "", code);
        }

        await Problems.WriteAsync(httpContext, status, code, detail);
        return true;
    }

    private static string Reason(BadHttpRequestException bad) => bad.InnerException is System.Text.Json.JsonException json
        ? $"The body is not the JSON expected, at {json.Path ?? "$"}."
        : bad.StatusCode == 413 ? "The body is too large." : "The request is malformed.";

    [LoggerMessage(1001, LogLevel.Error, "{Method} {Endpoint} failed: {Code}")]
    private partial void LogFailed(Exception error, string method, string endpoint, string code);
}
