using System.Globalization;
using Countersign.Approval.Workflow;
using Countersign.Platform.Hosting;

namespace Countersign.Approval.Host;

/// <summary>The workflow refused. Ends a request of ours as problem details.</summary>
internal sealed class RefusalException(Refusal refusal) : Exception(refusal.Message)
{
    public Refusal Refusal { get; } = refusal;

    /// <summary>HTTP status of a code.</summary>
    public static int Status(string code) => code switch
    {
        RefusalCodes.SelfApproval or RefusalCodes.NotEnrolled or RefusalCodes.PersonDisabled or RefusalCodes.NotInGroup or RefusalCodes.AlreadyCounted
            or RefusalCodes.AssuranceTooLow or RefusalCodes.BreakGlassNotAllowed
            or RefusalCodes.NotRequester or RefusalCodes.NotExecutor => StatusCodes.Status403Forbidden,
        RefusalCodes.DigestMismatch or RefusalCodes.WrongState or RefusalCodes.ReasonRequired or RefusalCodes.WrongConnection or RefusalCodes.AlreadyRedeemed
            or RefusalCodes.OutOfOrder or RefusalCodes.RedemptionReused or RefusalCodes.IdTaken or RefusalCodes.NoReview or RefusalCodes.NotExtendable => StatusCodes.Status409Conflict,
        RefusalCodes.Expired => StatusCodes.Status410Gone,
        RefusalCodes.Unknown => StatusCodes.Status404NotFound,
        RefusalCodes.TooManyPending or RefusalCodes.RecentlyDenied => StatusCodes.Status429TooManyRequests,
        RefusalCodes.TokenRejected => StatusCodes.Status401Unauthorized,
        RefusalCodes.Unavailable => StatusCodes.Status503ServiceUnavailable,
        RefusalCodes.CommentRequired or RefusalCodes.Invalid => StatusCodes.Status400BadRequest,
        _ => StatusCodes.Status500InternalServerError,
    };
}

/// <summary>Answers a refusal of the workflow.</summary>
internal sealed class RefusalFilter : IEndpointFilter
{
    public async ValueTask<object?> InvokeAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        try
        {
            return await next(context);
        }
        catch (RefusalException error)
        {
            if (error.Refusal.RetryAfter is { } wait)
            {
                context.HttpContext.Response.Headers.RetryAfter = Math.Max(1, Math.Ceiling(wait.TotalSeconds)).ToString(CultureInfo.InvariantCulture);
            }

            if (error.Refusal.Assurance is { } assurance)
            {
                // RFC 9470: what a new login must have.
                var age = assurance.MaxAge is { } oldest ? string.Create(CultureInfo.InvariantCulture, $", max_age={oldest.TotalSeconds:0}") : "";
                var amr = assurance.Amr.Count > 0 ? $", amr_values=\"{string.Join(' ', assurance.Amr)}\"" : "";
                context.HttpContext.Response.Headers.WWWAuthenticate = $"Bearer error=\"insufficient_user_authentication\"{age}{amr}";
            }

            return Problems.Result(RefusalException.Status(error.Refusal.Code), error.Refusal.Code, error.Refusal.Message);
        }
    }
}
