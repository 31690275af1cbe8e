using Countersign.Platform.Tokens;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Platform.Hosting;

/// <summary>Metadata of a route whose answers to services are signed.</summary>
/// <param name="AppId">App id of the service that signs.</param>
public sealed record AnswersAreSigned(string AppId);

/// <summary>The answering side of <see cref="SignedAnswers"/>.</summary>
public static class AnswerSigning
{
    /// <summary>Signs what the route answers to a service that asks for it, with the key of the service that the route belongs to.</summary>
    /// <param name="builder">Route; it requires a caller.</param>
    /// <param name="appId">App id of the service that the route belongs to.</param>
    public static TBuilder SignsAnswers<TBuilder>(this TBuilder builder, string appId)
        where TBuilder : IEndpointConventionBuilder
    {
        builder.Add(endpoint =>
        {
            endpoint.Metadata.Add(new AnswersAreSigned(appId));
            var next = endpoint.RequestDelegate ?? throw new InvalidOperationException("A route without handler can't answer.");
            endpoint.RequestDelegate = context => AnswerAsync(
                context, next, context.RequestServices.GetRequiredKeyedService<SigningKey>(appId), appId,
                each => each.Features.Get<Caller>()?.Service, context.RequestServices.GetRequiredService<TimeProvider>());
        });
        return builder;
    }

    /// <summary>Runs a handler and signs what it answers.</summary>
    /// <param name="context">The request.</param>
    /// <param name="next">The handler.</param>
    /// <param name="key">Key of the service that answers.</param>
    /// <param name="appId">App id of that service.</param>
    /// <param name="asker">App id of who asked, known after the handler has run; null for whoever is no service, to whom nothing is signed.</param>
    /// <param name="time">Clock.</param>
    public static async Task AnswerAsync(HttpContext context, RequestDelegate next, SigningKey key, string appId, Func<HttpContext, string?> asker, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(next);
        ArgumentNullException.ThrowIfNull(asker);
        ArgumentNullException.ThrowIfNull(time);
        if (context.Request.Headers[SignedAnswers.NonceHeader] is not [{ } nonce] || !SignedAnswers.IsNonce(nonce))
        {
            await next(context);
            return;
        }

        // The signature covers the whole body and comes before it.
        var response = context.Features.GetRequiredFeature<IHttpResponseBodyFeature>();
        using var buffer = new MemoryStream();
        var buffered = new StreamResponseBodyFeature(buffer);
        context.Features.Set<IHttpResponseBodyFeature>(buffered);
        try
        {
            await next(context);
            await buffered.CompleteAsync();
        }
        finally
        {
            context.Features.Set(response);
        }

        var body = buffer.GetBuffer().AsMemory(0, (int)buffer.Length);
        if (asker(context) is { } audience)
        {
            // Kestrel leaves an escaped slash as it is.
            var path = (context.Request.PathBase + context.Request.Path).Value!.Replace("%2F", "/", StringComparison.OrdinalIgnoreCase);
            var question = SignedAnswers.Question(context.Request.Method, path, context.Request.QueryString.Value ?? "");
            context.Response.Headers[SignedAnswers.SignatureHeader] =
                SignedAnswers.Sign(key, appId, audience, question, nonce, context.Response.StatusCode, body.Span, time.GetUtcNow());
        }

        if (context.Response.StatusCode is not (StatusCodes.Status204NoContent or StatusCodes.Status304NotModified))
        {
            context.Response.ContentLength = body.Length;
            await context.Response.Body.WriteAsync(body, context.RequestAborted);
        }
    }
}
