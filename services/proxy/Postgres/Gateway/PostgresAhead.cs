using System.Security.Cryptography;
using System.Text;
using Countersign.Approval.Contracts;
using Countersign.Identity.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path;
using Countersign.Proxy.Path.Record;
using Countersign.Proxy.Postgres.Impact;
using Countersign.Proxy.Postgres.Operations;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Sql.Analysis;
using Countersign.Recorder.Contracts;

namespace Countersign.Proxy.Postgres.Gateway;

/// <summary>Who asks ahead of time, and where it is to run.</summary>
/// <param name="Claims">The person, as a session would have it; the session id is made up here.</param>
/// <param name="Token">What approval takes the requester from.</param>
/// <param name="Connection">Connection.</param>
/// <param name="Database">Database; null for the connection's own.</param>
/// <param name="ClientAddress">Address that the policy sees.</param>
public sealed record AheadRequester(SessionAssertionClaims Claims, string Token, string Connection, string? Database, string ClientAddress);

/// <summary>One statement of a request ahead of time.</summary>
/// <param name="Number">Its place in the script, from 1.</param>
/// <param name="Text">From its first to its last token.</param>
/// <param name="Decision">What the policy says to it now.</param>
/// <param name="Digest">Its digest in the connection's default context; null where it needs no approval.</param>
/// <param name="Context">The context that the digest covers.</param>
/// <param name="InTransaction">Whether an earlier statement of the script has opened a transaction.</param>
public sealed record AheadStatement(
    int Number, string Text, Decision Decision, string? Digest, IReadOnlyDictionary<string, string> Context, bool InTransaction);

/// <summary>What a script would come to.</summary>
/// <param name="Database">Database at the target.</param>
/// <param name="Statements">Its statements, in order.</param>
/// <param name="Impact">What those that need approval would do; null where nothing is known.</param>
public sealed record AheadScript(string Database, IReadOnlyList<AheadStatement> Statements, RequestImpact? Impact);

/// <summary>The script can't be asked for ahead of time. The message is for the person.</summary>
public sealed class AheadRefusedException : Exception
{
    /// <summary>Says why.</summary>
    /// <param name="code">Stable code.</param>
    /// <param name="message">For the person.</param>
    public AheadRefusedException(string code, string message)
        : base(message) => Code = code;

    /// <summary>Without a message.</summary>
    public AheadRefusedException()
    {
    }

    /// <summary>Says why.</summary>
    public AheadRefusedException(string message)
        : base(message)
    {
    }

    /// <summary>Says why.</summary>
    public AheadRefusedException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Stable code.</summary>
    public string Code { get; } = "not-possible";
}

/// <summary>
/// Understands and decides what is asked for ahead of time, exactly as the path would: same parser, same catalog, same policy, and the digest in the
/// context that a fresh session of the connection has, read from the target.
/// </summary>
#pragma warning disable CA1001 // Lives as long as the process; a semaphore without a wait handle holds nothing that must be given back.
public sealed class PostgresAhead(PostgresServices services, PostgresOptions options)
#pragma warning restore CA1001
{
    // Nobody may make the gateway open any number of connections to a target, nor keep the others waiting for theirs.
    private const int MostAtOnce = 8;
    private const int MostOfOne = 2;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private readonly SemaphoreSlim _connections = new(MostAtOnce, MostAtOnce);
    private readonly Dictionary<string, int> _asking = new(StringComparer.Ordinal);

    /// <summary>Reads a script.</summary>
    /// <param name="requester">Who asks.</param>
    /// <param name="statements">Statements as psql would send them.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="AheadRefusedException">It can't be asked for: the policy denies a statement, or what it would mean can't be known ahead.</exception>
    /// <exception cref="TargetUnavailableException">The target can't be reached.</exception>
    /// <exception cref="RecordingFailedException">It can't be recorded.</exception>
    public async Task<AheadScript> ReadAsync(AheadRequester requester, IReadOnlyList<string> statements, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(requester);
        ArgumentNullException.ThrowIfNull(statements);
        var access = await services.Connections.OpenAsync(requester.Connection, requester.Claims, cancellation).ConfigureAwait(false)
            ?? throw new AheadRefusedException("unknown-connection", $"There is no connection '{requester.Connection}'.");
        var database = requester.Database ?? access.Database;
        var id = $"ses_{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16))}";
        using var turn = await EnterAsync(requester.Claims.Person, cancellation).ConfigureAwait(false);
        await RefuseDeniedAsync(Session(requester, access, database, id, NoRecording.Instance), statements, cancellation).ConfigureAwait(false);
        var recording = await services.Recorder.OpenAsync(id, Start(requester, access, database), cancellation).ConfigureAwait(false);
        await using (recording.ConfigureAwait(false))
        {
            try
            {
                return await ReadAsync(Session(requester, access, database, id, recording), access, statements, cancellation).ConfigureAwait(false);
            }
            finally
            {
                await recording.EndAsync(new SessionEndEntry("client", 0, 0, 0), CancellationToken.None).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Waits for one's turn, with few of the same person, and not for long.</summary>
    private async ValueTask<Turn> EnterAsync(string person, CancellationToken cancellation)
    {
        lock (_asking)
        {
            var own = _asking.GetValueOrDefault(person);
            if (own >= MostOfOne)
            {
                throw Busy("You are asking for others already: wait for their answers.");
            }

            _asking[person] = own + 1;
        }

        var entered = false;
        try
        {
            entered = await _connections.WaitAsync(Patience, cancellation).ConfigureAwait(false);
            return entered ? new Turn(this, person) : throw Busy("Too many are asking at the moment.");
        }
        finally
        {
            if (!entered)
            {
                Leave(person);
            }
        }
    }

    private static AheadRefusedException Busy(string message) => new("busy", message);

    private void Leave(string person)
    {
        lock (_asking)
        {
            if (--_asking[person] == 0)
            {
                _asking.Remove(person);
            }
        }
    }

    private async Task<AheadScript> ReadAsync(PathSession session, TargetAccess access, IReadOnlyList<string> statements, CancellationToken cancellation)
    {
        var connection = await GatewayConnection.OpenAsync(access, session.Database, session.Recording.RecordGateway, cancellation).ConfigureAwait(false);
        await using (connection.ConfigureAwait(false))
        {
            var call = GatewayStatement.ReadContext;
            IReadOnlyList<string?> row;
            try
            {
                row = (await connection.RunAsync(call.Name, call.WriteQuery, cancellation).ConfigureAwait(false)).Rows is [var only] ? only : throw new IOException("no row");
            }
            catch (Exception error) when (error is IOException or GatewayErrorException)
            {
                throw new TargetUnavailableException("08006", $"The target of {session.Connection} does not tell its context.", error);
            }

            var masks = services.Catalogs is { } catalogs
                ? new SessionMasks(catalogs.For(access.Host, access.Port, session.Database), access, session.Database, "countersign/gateway", name =>
                {
                    session.Recording.RecordGateway(name);
                    return ValueTask.CompletedTask;
                })
                : null;
            if (masks is not null)
            {
                await masks.RefreshAsync(cancellation).ConfigureAwait(false);
            }

            var texts = new OperationTexts(session, services.Parser, masks, PostgresListener.GrammarMatches(services.Parser, connection.Target));
            texts.Begins(row[0] ?? "");
            var decider = new ProtocolRules(services.Decider, canMask: masks is not null);
            var script = new ScriptState();
            var read = new List<AheadStatement>();
            var questions = new List<ImpactQuestion>();
            for (var index = 0; index < statements.Count; index++)
            {
                var text = Encoding.UTF8.GetBytes(statements[index]);
                var understood = await texts.UnderstandAsync(text, cancellation).ConfigureAwait(false);
                understood = texts.Decided(understood);
                var (decision, _) = decider.Decide(session, understood.Operation, services.Clock.GetUtcNow());
                ThrowIfDenied(decision, index, statements.Count);
                var operation = new PostgresOperation { Number = index + 1, Kind = "query", Message = default, Text = text, Understood = understood };
                if (decision.Outcome == Outcome.RequireApproval)
                {
                    script.ThrowIfUnknown(index + 1, understood);
                    questions.Add(new ImpactQuestion(operation, decision));
                }

                var identity = texts.Identity(operation, [.. row], script.InTransaction);
                read.Add(new AheadStatement(
                    index + 1, identity.Text, decision, decision.Outcome == Outcome.RequireApproval ? OperationDigest.Compute(identity) : null, identity.Context,
                    script.InTransaction));
                script.After(index + 1, understood, identity.Text);
            }

            var asked = questions.Count == 0
                ? null
                : await new ImpactPreview(
                    access, session.Database, services.Parser, session.Recording.RecordGateway, services.Previews, session.Claims.Person, services.Clock).ForeseeAsync(questions, row, masks, cancellation).ConfigureAwait(false);
            return new AheadScript(session.Database, read, asked);
        }
    }

    /// <summary>Before anything is asked of the target: who may not run it at all opens no connection with it.</summary>
    private async Task RefuseDeniedAsync(PathSession session, IReadOnlyList<string> statements, CancellationToken cancellation)
    {
        for (var index = 0; index < statements.Count; index++)
        {
            var analysis = await services.Parser.AnalyzeAsync(Encoding.UTF8.GetBytes(statements[index]), cancellation: cancellation).ConfigureAwait(false);
            if (analysis.Statements.Any(statement => statement.Copy is { From: true, ToClient: true }))
            {
                throw new AheadRefusedException("copy-data", $"Statement {index + 1}: the data of COPY FROM STDIN come from the client and are not covered by an approval. Run it, and let it be held.");
            }

            var (decision, _) = services.Decider.Decide(
                session, new UnderstoodOperation(analysis.Facts, analysis.RecordedText, [], Unmasked.Instance), services.Clock.GetUtcNow());
            ThrowIfDenied(decision, index, statements.Count);
        }
    }

    private static void ThrowIfDenied(Decision decision, int index, int count)
    {
        if (decision.Outcome == Outcome.Deny)
        {
            var rules = string.Join(", ", decision.Rules.Where(rule => rule is { Shadow: false, Effect: Outcome.Deny }).Select(rule => $"{rule.Policy}/{rule.Rule}").Distinct());
            throw new AheadRefusedException(
                "denied-by-policy",
                $"{(count == 1 ? "" : $"Statement {index + 1}: ")}The policy refuses this{(rules.Length > 0 ? $" ({rules})" : ", since no rule allows it")}. {decision.Message} {decision.Hint}".Trim());
        }
    }

    private PathSession Session(AheadRequester requester, TargetAccess access, string database, string id, ISessionRecording recording) => new()
    {
        Id = id,
        Claims = requester.Claims,
        Assertion = requester.Token,
        Principal = services.Admission.Principal(requester.Claims),
        Connection = requester.Connection,
        Database = database,
        DatabaseRole = access.Credential.User,
        ClientAddress = requester.ClientAddress,
        Recording = recording,
    };

    private SessionStartEntry Start(AheadRequester requester, TargetAccess access, string database) => new()
    {
        Principal = requester.Claims.Subject,
        Person = requester.Claims.Person,
        Name = requester.Claims.Name,
        Credential = requester.Claims.Credential,
        Connection = requester.Connection,
        Database = database,
        DatabaseRole = access.Credential.User,
        Protocol = "postgres",
        Client = requester.ClientAddress,
        Application = "countersign request",
        Proxy = options.ProxyId,
    };

    /// <summary>What the statements before one have made of the session, as far as that is certain.</summary>
    private sealed class ScriptState
    {
        private string? _unknown;
        private string? _unknownTransaction;

        public bool InTransaction { get; private set; }

        public void ThrowIfUnknown(int number, UnderstoodText understood)
        {
            if (_unknown is { } why)
            {
                throw new AheadRefusedException("context-changes", $"Statement {number} needs an approval, but {why} Ask for it by itself, in a session that has the default context.");
            }

            if (InTransaction && _unknownTransaction is { } mode)
            {
                throw new AheadRefusedException("context-changes", $"Statement {number} needs an approval, but {mode}");
            }

            if (understood.UsesNames)
            {
                throw new AheadRefusedException("prepared", $"Statement {number} runs what was prepared or declared earlier: write that statement itself.");
            }
        }

        public void After(int number, UnderstoodText understood, string text)
        {
            foreach (var statement in understood.Analysis.Statements)
            {
                var kind = statement.Facts.Kinds.Count > 0 ? statement.Facts.Kinds[0] : "";
                foreach (var setting in statement.Settings)
                {
                    if (setting.Name is "*" or "all" or "search_path" or "role" or "session_authorization" or "datestyle" or "timezone" or "standard_conforming_strings"
                        || setting.Name.Contains("transaction", StringComparison.Ordinal))
                    {
                        _unknown ??= $"statement {number} changes {setting.Name}, which changes what it means.";
                    }
                }

                var words = string.Join(' ', text.ToLowerInvariant().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
                switch (kind)
                {
                    case "BEGIN" or "START TRANSACTION":
                        InTransaction = true;
                        _unknownTransaction = words is "begin" or "begin work" or "begin transaction" or "start transaction"
                            ? null
                            : $"statement {number} opens a transaction with modes of its own: only a plain BEGIN can be known ahead.";
                        break;
                    case "COMMIT" or "ROLLBACK" or "PREPARE TRANSACTION" when !words.Contains(" to ", StringComparison.Ordinal):
                        InTransaction = words.Contains(" chain", StringComparison.Ordinal) && !words.Contains(" no chain", StringComparison.Ordinal);
                        break;
                    case "SET TRANSACTION":
                        _unknownTransaction ??= $"statement {number} changes the transaction's modes.";
                        break;
                    default:
                        break;
                }
            }
        }
    }

    private sealed class Unmasked : Countersign.Proxy.Path.Mask.IMaskAnalysis
    {
        public static readonly Unmasked Instance = new();

        public Countersign.Proxy.Path.Mask.MaskPlan Plan(Obligations obligations) => Countersign.Proxy.Path.Mask.MaskPlan.None;
    }

    /// <summary>A place among those who ask.</summary>
    private sealed class Turn(PostgresAhead ahead, string person) : IDisposable
    {
        public void Dispose()
        {
            ahead._connections.Release();
            ahead.Leave(person);
        }
    }

    /// <summary>Before there is anything to record.</summary>
    private sealed class NoRecording : ISessionRecording
    {
        public static readonly NoRecording Instance = new();

        public CancellationToken Failed => CancellationToken.None;

        public RecordReceipt Append(OperationEntry entry, RecordLevel level) => throw new InvalidOperationException("Nothing is run here.");

        public void Complete(CompletionEntry entry) => throw new InvalidOperationException("Nothing is run here.");

        public ValueTask RecordHoldAsync(HoldEntry entry, CancellationToken cancellation) => throw new InvalidOperationException("Nothing is held here.");

        public void RecordGateway(string statement) => throw new InvalidOperationException("Nothing is sent here.");

        public ValueTask EndAsync(SessionEndEntry entry, CancellationToken cancellation) => ValueTask.CompletedTask;

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
