using System.Text.RegularExpressions;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Platform.Hosting;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Host.ControlPlane;
using Countersign.Proxy.Path.Decide;
using Countersign.Proxy.Path.Hold;
using Countersign.Proxy.Path.Record;
using Countersign.Proxy.Postgres.Gateway;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Sql.Lexing;

namespace Countersign.Proxy.Host.Api;

/// <summary><c>POST /proxy/v1/requests</c>, with the person's own token: asks for an approval before anything is run.</summary>
/// <param name="Connection">Connection.</param>
/// <param name="Database">Database; null for the connection's own.</param>
/// <param name="Script">A file as psql would run it: each of its statements is one operation. Null where there is none.</param>
/// <param name="Text">One operation, as <c>psql -c</c> would send it. Null where there is none.</param>
/// <param name="Window">An access window in place of both.</param>
/// <param name="Reason">For the approvers.</param>
/// <param name="Extends">Approved request whose time is to be extended, asked for with the same script, text or window; null otherwise.</param>
internal sealed record AheadRequest(
    string Connection, string? Database = null, string? Script = null, string? Text = null, AccessWindow? Window = null, string Reason = "", string? Extends = null);

/// <summary>What the policy says to one statement.</summary>
internal sealed record AheadStatementView(int Number, string Text, Outcome Decision, IReadOnlyList<string> Rules, string? Digest);

/// <summary>Answer to <see cref="AheadRequest"/>.</summary>
/// <param name="Needed">False where the policy allows all of it: nobody was asked.</param>
/// <param name="Request">The request; null where none is needed.</param>
/// <param name="Attached">True where the same was asked for before.</param>
/// <param name="Statements">Every statement; empty for a window.</param>
internal sealed record AheadAnswer(bool Needed, RequestView? Request, bool Attached, IReadOnlyList<AheadStatementView> Statements);

/// <summary>
/// Requests ahead of time. The proxy understands, decides and computes digests, as it will when the operation comes; the requester is whoever's token
/// goes along, never the proxy's word.
/// </summary>
internal sealed partial class AheadRequests(
    ProxyListener listener, HttpApprovals approvals, IBundleSource bundles, IFreshness freshness, ISessionAdmission admission, TimeProvider clock)
{
    private const int MaxOperations = 256;
    private const int MaxScope = 64;

    public async Task<AheadAnswer> AskAsync(Caller caller, string address, AheadRequest asked, CancellationToken cancellation)
    {
        if (!freshness.IsFresh)
        {
            throw new ProblemException(StatusCodes.Status503ServiceUnavailable, "stale", freshness.Problem);
        }

        if (bundles.Current is not { } bundle || !bundle.Connections.TryGetValue(asked.Connection ?? "", out var connection) || connection.Protocol != "postgres")
        {
            throw new ProblemException(StatusCodes.Status404NotFound, "unknown-connection", $"There is no connection '{asked.Connection}'.");
        }

        if (new object?[] { asked.Script, asked.Text, asked.Window }.Count(each => each is not null) != 1)
        {
            throw Invalid("Ask for a script, a text or a window: exactly one of them.");
        }

        var person = caller.Person ?? throw new ProblemException(StatusCodes.Status403Forbidden, "caller-not-allowed", "Only persons ask.");
        var requester = new AheadRequester(Claims(person, asked.Connection!), caller.Token, asked.Connection!, asked.Database, address);
        return asked.Window is { } window
            ? await AskWindowAsync(bundle, requester, asked.Database ?? connection.Database, window, asked, cancellation)
            : await AskOperationsAsync(requester, asked, cancellation);
    }

    private async Task<AheadAnswer> AskOperationsAsync(AheadRequester requester, AheadRequest asked, CancellationToken cancellation)
    {
        IReadOnlyList<string> statements;
        if (asked.Script is { } script)
        {
            statements = PsqlScript.Split(script, out var problem);
            if (problem is not null)
            {
                throw new ProblemException(StatusCodes.Status422UnprocessableEntity, "script", problem);
            }
        }
        else
        {
            statements = [asked.Text!];
        }

        if (statements.Count == 0)
        {
            throw Invalid("There is no statement in it.");
        }

        var ahead = listener.Ahead ?? throw new ProblemException(StatusCodes.Status503ServiceUnavailable, "not-listening", "The PostgreSQL listener is not open yet.");
        AheadScript read;
        try
        {
            read = await ahead.ReadAsync(requester, statements, cancellation);
        }
        catch (AheadRefusedException refused)
        {
            throw new ProblemException(
                refused.Code switch
                {
                    "denied-by-policy" => StatusCodes.Status403Forbidden,
                    "unknown-connection" => StatusCodes.Status404NotFound,
                    "busy" => StatusCodes.Status429TooManyRequests,
                    _ => StatusCodes.Status422UnprocessableEntity,
                },
                refused.Code, refused.Message);
        }
        catch (TargetUnavailableException unavailable)
        {
            throw new ProblemException(StatusCodes.Status503ServiceUnavailable, "target-unavailable", unavailable.Message);
        }
        catch (RecordingFailedException)
        {
            throw new ProblemException(StatusCodes.Status503ServiceUnavailable, "record-failed", "This can't be recorded, and so the target isn't asked.");
        }

        var views = read.Statements.Select(each => new AheadStatementView(each.Number, each.Text, each.Decision.Outcome, Rules(each.Decision), each.Digest)).ToList();
        var held = read.Statements.Where(each => each.Digest is not null).ToList();
        if (held.Count == 0)
        {
            return new AheadAnswer(false, null, false, views);
        }

        if (held.Count > MaxOperations)
        {
            throw Invalid($"{held.Count} of its statements need an approval; at most {MaxOperations} can be asked for at once.");
        }

        var request = AskedTerms.Of([.. held.Select(each => each.Decision.Terms!)]) with
        {
            Assertion = requester.Token,
            Connection = requester.Connection,
            Database = read.Database,
            Operations = [.. held.Select(each => new RequestedOperation(each.Digest!, each.Text, []))],
            Rules = [.. held.SelectMany(each => Rules(each.Decision)).Distinct(StringComparer.Ordinal)],
            Message = held[0].Decision.Message,
            Reason = asked.Reason ?? "",
            BundleVersion = held[0].Decision.BundleVersion,
            Context = held[0].Context,
            Impact = read.Impact,
            Extends = asked.Extends,
        };
        if (asked.Extends is not null)
        {
            // More time is for others to give.
            request = request with { BreakGlassAllowed = false };
        }

        var created = await approvals.CreateAsync(request, cancellation);
        return new AheadAnswer(true, created.Request, created.Attached, views);
    }

    private async Task<AheadAnswer> AskWindowAsync(
        BundleInForce bundle, AheadRequester requester, string database, AccessWindow window, AheadRequest asked, CancellationToken cancellation)
    {
        if (window.Seconds < 60 || window.Statements is not { Count: > 0 and <= MaxScope } || window.Relations is not { Count: > 0 and <= MaxScope })
        {
            throw Invalid($"A window has at least 60 s, and 1 to {MaxScope} statements and relations.");
        }

        if (window.Statements.FirstOrDefault(each => !Tag().IsMatch(each)) is { } tag)
        {
            throw Invalid($"'{tag}' is not a command tag such as UPDATE or CREATE INDEX.");
        }

        if (window.Relations.FirstOrDefault(each => each.Length > 200 || each.Split('.') is not [{ Length: > 0 }, { Length: > 0 }] || each.Contains('*', StringComparison.Ordinal)) is { } name)
        {
            throw Invalid($"'{name}' is not a relation with its schema, such as public.orders.");
        }

        var scope = window with
        {
            Statements = [.. window.Statements.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)],
            Relations = [.. window.Relations.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)],
        };
        var decisions = scope.Statements.SelectMany(statement => scope.Relations.Select(relation => Decide(bundle, requester, database, statement, relation))).ToList();
        if (decisions.Find(each => each.Outcome == Outcome.Deny) is { } denied)
        {
            throw new ProblemException(StatusCodes.Status403Forbidden, "denied-by-policy", $"The policy refuses part of this ({string.Join(", ", Rules(denied))}). {denied.Message} {denied.Hint}".Trim());
        }

        var held = decisions.Where(each => each.Outcome == Outcome.RequireApproval).ToList();
        if (held.Count == 0)
        {
            return new AheadAnswer(false, null, false, []);
        }

        if (held.Find(each => each.Terms!.LongestWindow is null) is { } exact)
        {
            throw new ProblemException(
                StatusCodes.Status403Forbidden, "no-window", $"The policy allows no access windows for part of this ({string.Join(", ", Rules(exact))}): only exact statements can be approved.");
        }

        var longest = held.Min(each => each.Terms!.LongestWindow!.Value);
        if (TimeSpan.FromSeconds(scope.Seconds) > longest)
        {
            throw new ProblemException(StatusCodes.Status403Forbidden, "window-too-long", $"The policy allows windows of at most {(int)longest.TotalMinutes} min here.");
        }

        var digest = AccessWindowDigest.Compute(requester.Claims.Person, requester.Connection, database, scope);
        var request = AskedTerms.Of([.. held.Select(each => each.Terms!)]) with
        {
            Kind = RequestKind.AccessWindow,
            Assertion = requester.Token,
            Connection = requester.Connection,
            Database = database,
            Operations = [new RequestedOperation(digest, $"{TimeSpan.FromSeconds(scope.Seconds)} from the first use: {string.Join(", ", scope.Statements)} on {string.Join(", ", scope.Relations)}", [])],
            Window = scope,
            BreakGlassAllowed = false,
            Rules = [.. held.SelectMany(Rules).Distinct(StringComparer.Ordinal)],
            Message = held[0].Message,
            Reason = asked.Reason ?? "",
            BundleVersion = bundle.Version,
            Extends = asked.Extends,
        };
        var created = await approvals.CreateAsync(request, cancellation);
        return new AheadAnswer(true, created.Request, created.Attached, []);
    }

    /// <summary>What the policy says to the plainest statement of a kind on a relation. Each real one is decided again, and held where its answer is stricter.</summary>
    private Decision Decide(BundleInForce bundle, AheadRequester requester, string database, string statement, string relation)
    {
        var parts = relation.Split('.');
        var access = statement switch
        {
            "SELECT" => RelationAccess.Read,
            "INSERT" => RelationAccess.Insert,
            "UPDATE" => RelationAccess.Read | RelationAccess.Update,
            "MERGE" => RelationAccess.Read | RelationAccess.Insert | RelationAccess.Update | RelationAccess.Delete,
            "DELETE" => RelationAccess.Read | RelationAccess.Delete,
            "TRUNCATE" or "TRUNCATE TABLE" => RelationAccess.Delete,
            _ => RelationAccess.Define,
        };
        return bundle.Engine.Evaluate(new DecisionInput
        {
            Principal = admission.Principal(requester.Claims),
            Connection = requester.Connection,
            Database = database,
            Facts = new OperationFacts
            {
                Protocol = "postgres",
                Grammar = "none",
                Statements = [new StatementFacts { Kinds = [statement], Relations = [new RelationUse(new ObjectName(parts[0], parts[1]), access)], ReadOnly = statement == "SELECT" }],
            },
            ClientAddress = requester.ClientAddress,
            Now = clock.GetUtcNow(),
        }).Decision;
    }

    private static SessionAssertionClaims Claims(AccessTokenClaims person, string connection) => new()
    {
        Issuer = person.Issuer,
        Audience = person.Audience,
        Subject = person.Subject,
        Session = "",
        Proxy = "",
        Connection = connection,
        Credential = person.Id,
        Person = person.Person,
        Name = person.Name,
        Kind = person.Kind,
        Owners = person.Owners,
        Groups = person.Groups,
        Acr = person.Acr,
        Amr = person.Amr,
        AuthenticatedAt = person.AuthenticatedAt,
        IssuedAt = person.IssuedAt,
        ExpiresAt = person.ExpiresAt,
    };

    private static IReadOnlyList<string> Rules(Decision decision) =>
        [.. decision.Rules.Where(rule => !rule.Shadow).Select(rule => $"{rule.Policy}/{rule.Rule}").Distinct(StringComparer.Ordinal)];

    private static ProblemException Invalid(string detail) => new(StatusCodes.Status400BadRequest, "invalid", detail);

    [GeneratedRegex("\\A[A-Z]+( [A-Z]+){0,5}\\z", RegexOptions.CultureInvariant)]
    private static partial Regex Tag();
}
