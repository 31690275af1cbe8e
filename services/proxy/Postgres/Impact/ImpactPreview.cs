using System.Globalization;
using System.Text.Json;
using Countersign.Approval.Contracts;
using Countersign.Policy.Contracts;
using Countersign.Proxy.Path.Mask;
using Countersign.Proxy.Postgres.Gateway;
using Countersign.Proxy.Postgres.Operations;
using Countersign.Proxy.Postgres.Ports;
using Countersign.Proxy.Sql;
using Countersign.Proxy.Sql.Analysis;

namespace Countersign.Proxy.Postgres.Impact;

/// <summary>An operation that an approver will be asked about.</summary>
/// <param name="Operation">Understood already.</param>
/// <param name="Decision">What was decided.</param>
internal sealed record ImpactQuestion(PostgresOperation Operation, Decision Decision);

/// <summary>
/// What operations would do, for the approver, by a connection of the gateway's own. Nothing of them runs: the planner is asked, in a transaction that can't
/// write, and only where it is certain that planning runs no code of users; where the policy wants one, a change is tried and rolled back. Whatever isn't
/// certain is left out, and a note says why. It never takes longer than <see cref="Patience"/>: then the approver is asked with what is known.
/// </summary>
/// <param name="access">The target.</param>
/// <param name="database">Database.</param>
/// <param name="parser">Says whether planning a text is certain to have no effect.</param>
/// <param name="record">Told the name of every statement before it is sent.</param>
/// <param name="limits">Bounds them over all sessions.</param>
/// <param name="person">Who asks.</param>
/// <param name="clock">Clock of the limits.</param>
internal sealed class ImpactPreview(
    TargetAccess access, string database, SqlParser parser, Action<string> record, PreviewLimits limits, string person, TimeProvider clock)
{
    /// <summary>Longest time for one request.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);
    private const int MaxPlanned = 5;
    private const string Masked = "***";
    private const int MaxValue = 200;

    // Columns of the context.
    private const int Isolation = 5;
    private const int ReadOnly = 6;
    private const int Temporary = 7;

    // Within what a request may carry: an impact that is too large would cost the request.
    private const int MaxRelations = 100;
    private const int MaxRelation = 200;
    private const int MaxNotes = 40;
    private const int MaxNote = 1000;
    private const int MaxColumns = 60;
    private const int MaxRules = 10;
    private const int MaxDefaults = 100;

    /// <summary>Finds out.</summary>
    /// <param name="questions">Operations of one request, in order.</param>
    /// <param name="context">Answer to <see cref="GatewayStatement.ReadContext"/> in the client's session; null where it is in a failed transaction.</param>
    /// <param name="masks">Masks of the session; null where nothing can be masked.</param>
    /// <param name="cancellation">Ends the session.</param>
    public async Task<RequestImpact> ForeseeAsync(
        IReadOnlyList<ImpactQuestion> questions, IReadOnlyList<string?>? context, SessionMasks? masks, CancellationToken cancellation)
    {
        var relations = questions.SelectMany(question => Touches(question.Operation)).Distinct(StringComparer.Ordinal).Where(text => text.Length <= MaxRelation).Take(MaxRelations).ToList();
        var notes = questions.SelectMany(question => Locks(question.Operation)).Distinct(StringComparer.Ordinal).Select(note => Cut(note, MaxNote)!).Take(MaxNotes).ToList();
        var (rows, dryRun) = ((long?)null, (DryRunResult?)null);
        if ((WhyNot(questions, context) ?? Tells(questions, masks) ?? await ImpureAsync(questions, cancellation).ConfigureAwait(false)) is { } reason)
        {
            notes.Add($"There is no estimate: {reason}.");
        }
        else
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            limit.CancelAfter(Patience);
            try
            {
                rows = await PlanAsync(questions, context!, masks, notes, result => dryRun = result, limit.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
            {
                notes.Add("There is no estimate: it took too long.");
            }
            catch (GatewayErrorException error)
            {
                notes.Add(error.Code switch
                {
                    "55P03" => "There is no estimate: somebody holds a lock on it now.",
                    "57014" => "There is no estimate: it took too long.",
                    _ => $"There is no estimate: the target answered {error.Code}.",
                });
            }
            catch (Exception error) when (error is IOException or TargetUnavailableException or JsonException)
            {
                notes.Add("There is no estimate: the target didn't tell.");
            }
        }

        notes.AddRange(questions.SelectMany(question => question.Decision.Rules)
            .Where(rule => rule is { Shadow: false, Effect: Outcome.RequireApproval, Message.Length: > 0 })
            .Select(rule => Cut($"{rule.Policy}/{rule.Rule} holds it: {rule.Message}", MaxNote)!).Distinct(StringComparer.Ordinal).Take(MaxRules));
        return new RequestImpact(relations, rows, notes, dryRun);
    }

    private async Task<long?> PlanAsync(
        IReadOnlyList<ImpactQuestion> questions, IReadOnlyList<string?> context, SessionMasks? masks, List<string> notes, Action<DryRunResult> tried,
        CancellationToken cancellation)
    {
        using var turn = await limits.BeginAsync(person, clock.GetUtcNow(), TimeSpan.FromMilliseconds(300), cancellation).ConfigureAwait(false);
        if (turn is null)
        {
            notes.Add("There is no estimate: too many are being made at the moment, or the requester has had too many made.");
            return null;
        }

        var connection = await GatewayConnection.OpenAsync(access, database, record, cancellation).ConfigureAwait(false);
        await using (connection.ConfigureAwait(false))
        {
            var own = (await connection.RunAsync(GatewayStatement.ReadContext.Name, GatewayStatement.ReadContext.WriteQuery, cancellation).ConfigureAwait(false)).Rows;
            if (own is not [var row] || !SameContext(row, context))
            {
                notes.Add("There is no estimate: the session has another search_path, role or setting than a fresh one.");
                return null;
            }

            await RunAsync(connection, ImpactStatement.Begin, cancellation).ConfigureAwait(false);
            var (oids, unsafeReason) = await CheckAsync(connection, questions, cancellation).ConfigureAwait(false);
            if (unsafeReason is not null)
            {
                notes.Add($"There is no estimate: {unsafeReason}.");
                return null;
            }

            long rows = 0;
            foreach (var question in questions)
            {
                var plan = await connection.RunAsync(
                    ImpactStatement.Explain.Name, output => ImpactStatement.Explain.Write(output, question.Operation), cancellation).ConfigureAwait(false);
                rows += Rows(string.Concat(plan.Rows.Select(line => line[0])));
            }

            await RunAsync(connection, ImpactStatement.Rollback, cancellation).ConfigureAwait(false);
            if (questions is [{ Decision.Terms.DryRun: true } only])
            {
                await TryAsync(connection, only, oids, masks, notes, tried, cancellation).ConfigureAwait(false);
            }

            return rows;
        }
    }

    private static async Task<(IReadOnlyDictionary<string, string> Oids, string? Reason)> CheckAsync(
        GatewayConnection connection, IReadOnlyList<ImpactQuestion> questions, CancellationToken cancellation)
    {
        var statements = questions.Select(question => question.Operation.Understood!.Analysis.Statements[0]).ToList();
        var names = statements.SelectMany(statement => statement.Facts.Relations).Select(use => Quoted(use.Name)).Distinct(StringComparer.Ordinal).ToList();
        var found = await connection.RunAsync(
            ImpactStatement.Names.Name, output => ImpactStatement.Names.Write(output, ImpactStatement.Array(names)), cancellation).ConfigureAwait(false);
        var oids = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var row in found.Rows)
        {
            if (row is not [{ } name, { } oid])
            {
                return (oids, $"{row[0]} is not known to the target");
            }

            oids[name] = oid;
        }

        var texts = questions.Select(question => ImpactNames.Of(question.Operation.Understood!.Analysis.TrimmedText)).ToList();
        if (texts.Contains(null))
        {
            return (oids, "a name in it is longer than the server's, or written with escapes");
        }

        await RunAsync(connection, ImpactStatement.Path, cancellation).ConfigureAwait(false);
        var functions = statements.SelectMany(statement => statement.Facts.Functions).Select(function => function.Name).Distinct(StringComparer.Ordinal);
        var reason = await UnsafeAsync(connection, oids.Values, functions, texts.SelectMany(text => text!.All).Distinct(StringComparer.Ordinal), cancellation).ConfigureAwait(false);
        await RunAsync(connection, ImpactStatement.DefaultPath, cancellation).ConfigureAwait(false);
        return (oids, reason is null ? null : $"planning it could run code of a user ({reason})");
    }

    private static async Task<string?> UnsafeAsync(
        GatewayConnection connection, IEnumerable<string> oids, IEnumerable<string> functions, IEnumerable<string> names, CancellationToken cancellation)
    {
        var reasons = await connection.RunAsync(
            ImpactStatement.Safe.Name,
            output => ImpactStatement.Safe.Write(output, ImpactStatement.Array(oids), ImpactStatement.Array(functions), ImpactStatement.Array(names)), cancellation).ConfigureAwait(false);
        return reasons.Rows is [[{ } reason], ..] ? reason : null;
    }

    /// <summary>Why trying a change could leave something behind or run code of a user; null where it can't.</summary>
    private async Task<string?> WhyNotTryAsync(GatewayConnection connection, SqlStatement statement, string text, string oid, CancellationToken cancellation)
    {
        // An UPDATE computes a default only where it says DEFAULT, a DELETE never.
        var defaults = statement.Facts.Kinds[0] == "INSERT" || ImpactNames.Of(text) is not { HasDefault: false };
        var reasons = await connection.RunAsync(
            ImpactStatement.Revertible.Name, output => ImpactStatement.Revertible.Write(output, oid, defaults ? "true" : "false"), cancellation).ConfigureAwait(false);
        if (reasons.Rows is [[{ } reason], ..])
        {
            return reason;
        }

        if (defaults)
        {
            var texts = (await connection.RunAsync(ImpactStatement.Defaults.Name, output => ImpactStatement.Defaults.Write(output, oid), cancellation).ConfigureAwait(false)).Rows;
            if (texts.Count > MaxDefaults)
            {
                return "it has too many defaults";
            }

            foreach (var row in texts)
            {
                if (!await IsPureAsync("SELECT " + row[0], cancellation).ConfigureAwait(false))
                {
                    return "a default could have an effect, such as a sequence that would go on";
                }
            }
        }

        var related = (await connection.RunAsync(ImpactStatement.Related.Name, output => ImpactStatement.Related.Write(output, oid), cancellation).ConfigureAwait(false)).Rows;
        return related.Count > 0 && await UnsafeAsync(connection, related.Select(row => row[0]!), [], [], cancellation).ConfigureAwait(false) is { } other
            ? $"checking a foreign key could run code of a user ({other})"
            : null;
    }

    /// <summary>Tries a change and rolls it back, where that leaves nothing behind.</summary>
    private async Task TryAsync(
        GatewayConnection connection, ImpactQuestion question, IReadOnlyDictionary<string, string> oids, SessionMasks? masks, List<string> notes, Action<DryRunResult> tried, CancellationToken cancellation)
    {
        var statement = question.Operation.Understood!.Analysis.Statements[0];
        var target = statement.Facts.Relations.Where(use => (use.Access & RelationAccess.Write) != 0).ToList();
        if (statement.Facts.Kinds is not (["UPDATE"] or ["DELETE"] or ["INSERT"]) || target is not [var changed] || statement.Result is { Outputs.Count: > 0 })
        {
            notes.Add("It was not tried: only a single INSERT, UPDATE or DELETE without RETURNING can be.");
            return;
        }

        if (MayShowMasked(question, masks, statement, changed, oids))
        {
            notes.Add("It was not tried: it reads what is masked, and what it stores or chooses by could tell of it.");
            return;
        }

        if (!limits.MayTry(person, clock.GetUtcNow()))
        {
            notes.Add("It was not tried: the requester has had too much tried within a minute.");
            return;
        }

        try
        {
            await RunAsync(connection, ImpactStatement.BeginTry, cancellation).ConfigureAwait(false);
            await RunAsync(connection, ImpactStatement.Path, cancellation).ConfigureAwait(false);
            var oid = oids[Quoted(changed.Name)];
            if (await WhyNotTryAsync(connection, statement, question.Operation.Understood!.Analysis.TrimmedText, oid, cancellation).ConfigureAwait(false) is { } reason)
            {
                notes.Add($"It was not tried: {reason}.");
                return;
            }

            var before = statement.Facts.Kinds[0] == "UPDATE" ? await BeforeAsync(connection, oid, statement, notes, cancellation).ConfigureAwait(false) : null;
            await RunAsync(connection, ImpactStatement.DefaultPath, cancellation).ConfigureAwait(false);
            var attempt = before is null ? ImpactStatement.Try : ImpactStatement.TryUpdate;
            (string, string)[] names = [("$columns", Changed(statement)), .. before ?? []];
            var answer = await connection.RunAsync(attempt.Name, output => attempt.Write(output, question.Operation, names), cancellation).ConfigureAwait(false);
            tried(Result(question.Decision, statement.Facts.Kinds[0], answer, before is not null, masks, uint.Parse(oid, CultureInfo.InvariantCulture), notes));
            notes.Add("It was tried in a transaction of its own, which was rolled back.");
        }
        catch (GatewayErrorException error)
        {
            notes.Add($"It was tried, and the target answered {error.Code}; nothing was changed.");
        }
    }

    /// <summary>
    /// Whether rows of the changed table, masked by its own masks, could show what is masked elsewhere or in another column: it was stored there by the statement,
    /// or the rows were chosen by it. So for every other relation that has masks or was filled from one that has.
    /// </summary>
    private static bool MayShowMasked(
        ImpactQuestion question, SessionMasks? masks, SqlStatement statement, RelationUse changed, IReadOnlyDictionary<string, string> oids)
    {
        var obligations = question.Decision.Obligations;
        if (masks is null)
        {
            return obligations.Masks.Count > 0;
        }

        if (masks.Snapshot is not { } snapshot)
        {
            return true;
        }

        if (obligations.Masks.Count == 0 && snapshot.Tainted.Count == 0)
        {
            return false;
        }

        var scope = snapshot.Scope(obligations.Masks);
        foreach (var use in statement.Facts.Relations)
        {
            if (snapshot.Relation(uint.Parse(oids[Quoted(use.Name)], CultureInfo.InvariantCulture)) is not { } relation
                || (use != changed && scope.Masks(relation))
                || ((use != changed || obligations.Masks.Count == 0) && snapshot.Tainted.Any(tainted => tainted.Name == relation.Name)))
            {
                return true;
            }
        }

        return masks.Analyze(question.Operation.Understood!.Analysis).Plan(obligations) is var plan && (plan.FiltersOn ?? plan.Launders ?? plan.Unmaskable) is not null;
    }

    /// <summary>What stands for the rows that a statement changes in its RETURNING: its own name for the table, since others may be joined.</summary>
    private static string Changed(SqlStatement statement) => $"{Quote(statement.Blocks[0].Sources.First(source => source.IsTarget).Alias!)}.*";

    /// <summary>How an UPDATE's rows are found as they were; null where that isn't certain.</summary>
    private static async Task<(string Place, string Sql)[]?> BeforeAsync(
        GatewayConnection connection, string oid, SqlStatement statement, List<string> notes, CancellationToken cancellation)
    {
        var key = (await connection.RunAsync(ImpactStatement.Key.Name, output => ImpactStatement.Key.Write(output, oid), cancellation).ConfigureAwait(false)).Rows;
        var why = key.Count == 0 ? "the table has no primary key that tells them apart"
            : key.Any(row => statement.Blocks[0].Assigned.Contains(row[2], StringComparer.Ordinal)) ? "it changes the primary key"
            : null;
        if (why is not null)
        {
            notes.Add($"The rows as they are now aren't shown beside those after: {why}.");
            return null;
        }

        return
        [
            ("$relation", $"{Quote(key[0][0]!)}.{Quote(key[0][1]!)}"),
            ("$key", string.Join(" AND ", key.Select(row => $"countersign_old.{Quote(row[2]!)} OPERATOR(pg_catalog.=) countersign_change.{Quote(row[2]!)}"))),
        ];
    }

    private static DryRunResult Result(
        Decision decision, string kind, GatewayAnswer answer, bool both, SessionMasks? masks, uint relation, List<string> notes)
    {
        var rows = answer.Rows.Count == 0 ? 0 : long.Parse(answer.Rows[0][^1] ?? "", CultureInfo.InvariantCulture);
        var width = (answer.Columns.Count - 1) / (both ? 2 : 1);
        var columns = answer.Columns.Take(width).Select(column => column.Name).ToList();
        if (columns.Count > MaxColumns)
        {
            notes.Add($"The rows themselves aren't shown: they have more than {MaxColumns} columns.");
            return new DryRunResult(rows, [], [], []);
        }

        if (Hidden(decision, masks, relation, columns) is not { } hide)
        {
            notes.Add("The rows themselves aren't shown: what would have to be masked in them can't be told with certainty.");
            return new DryRunResult(rows, columns, [], []);
        }

        IReadOnlyList<IReadOnlyList<string?>> Sample(int start) =>
            [.. answer.Rows.Select(row => (IReadOnlyList<string?>)[.. row.Skip(start).Take(width).Select((value, index) => hide[index] ? Masked : Cut(value, MaxValue))])];
        return kind == "DELETE" ? new DryRunResult(rows, columns, Sample(0), []) : new DryRunResult(rows, columns, both ? Sample(0) : [], Sample(both ? width : 0));
    }

    /// <summary>Which columns are masked for the requester, and so for whoever approves; null where that isn't certain.</summary>
    private static bool[]? Hidden(Decision decision, SessionMasks? masks, uint relation, List<string> columns)
    {
        var obligations = decision.Obligations;
        if (obligations.Detectors.Count > 0)
        {
            return null;
        }

        if (obligations.Masks.Count == 0 && masks?.Snapshot is not { Tainted.Count: > 0 })
        {
            return new bool[columns.Count];
        }

        if (masks?.Snapshot is not { } snapshot || snapshot.Relation(relation) is not { } known)
        {
            return null;
        }

        var scope = snapshot.Scope(obligations.Masks);
        return [.. columns.Select(name =>
        {
            var column = known.Columns.FirstOrDefault(each => each.Name == name);
            return column.Name is null || scope.Strategy(relation, column.Number) != MaskStrategy.None;
        })];
    }

    /// <summary>Everything but the transaction's modes and whether there are temporary relations, which are asked about before.</summary>
    private static bool SameContext(IReadOnlyList<string?> own, IReadOnlyList<string?> context)
    {
        if (own.Count != context.Count)
        {
            return false;
        }

        for (var index = 0; index < own.Count; index++)
        {
            if (index is not (Isolation or ReadOnly or Temporary) && !string.Equals(own[index], context[index], StringComparison.Ordinal))
            {
                return false;
            }
        }

        return true;
    }

    private static string? WhyNot(IReadOnlyList<ImpactQuestion> questions, IReadOnlyList<string?>? context)
    {
        if (questions.Count > MaxPlanned)
        {
            return $"there are more than {MaxPlanned} operations";
        }

        if (context is not { Count: GatewayStatement.ContextColumns })
        {
            return "the transaction has failed";
        }

        if (context.Count != GatewayStatement.ContextColumns || context[Temporary] != "false")
        {
            return "the session has temporary relations, which only it can see";
        }

        foreach (var question in questions)
        {
            var understood = question.Operation.Understood;
            if (understood is not { Analysis: { Facts.Complete: true, Statements: [var statement] } })
            {
                return "it is not one statement that is understood completely";
            }

            if (!statement.Facts.Kinds.All(kind => kind is "SELECT" or "INSERT" or "UPDATE" or "DELETE" or "MERGE"))
            {
                return "the planner knows nothing of this kind of statement";
            }
        }

        return null;
    }

    /// <summary>
    /// Whether what would be found out tells masked values: whoever asks sees it before anybody has agreed. The number of rows tells of a condition, and the
    /// rows themselves of what is stored.
    /// </summary>
    private static string? Tells(IReadOnlyList<ImpactQuestion> questions, SessionMasks? masks)
    {
        foreach (var question in questions.Where(question => question.Decision.Obligations.Masks.Count > 0))
        {
            if (masks?.Analyze(question.Operation.Understood!.Analysis).Plan(question.Decision.Obligations) is not { } plan)
            {
                return "what is masked can't be told with certainty";
            }

            if ((plan.FiltersOn ?? plan.Launders ?? plan.Unmaskable) is not null)
            {
                return "it reads what is masked, which an estimate would tell of";
            }
        }

        return null;
    }

    /// <summary>Whether EXPLAIN of each text is certain to only read: every function, operator and type in it is on the list of known pure ones.</summary>
    private async ValueTask<string?> ImpureAsync(IReadOnlyList<ImpactQuestion> questions, CancellationToken cancellation)
    {
        foreach (var question in questions)
        {
            if (!await IsPureAsync("EXPLAIN " + question.Operation.Understood!.Analysis.TrimmedText, cancellation).ConfigureAwait(false))
            {
                return "it calls something that isn't known to be without effects";
            }

            if (question.Operation.Statement is { } prepared && Array.Exists(prepared.Types, static type => type >= Catalog.CatalogSnapshot.FirstUserObject))
            {
                // Reading its value runs the type's own code.
                return "a parameter has a type of a user";
            }
        }

        return null;
    }

    private async ValueTask<bool> IsPureAsync(string text, CancellationToken cancellation) =>
        (await parser.AnalyzeAsync(System.Text.Encoding.UTF8.GetBytes(text), cancellation: cancellation).ConfigureAwait(false)).Facts
            is { Complete: true, Statements: [{ ReadOnly: true }] };

    private static IEnumerable<string> Touches(PostgresOperation operation) =>
        (operation.Understood?.Analysis.Facts.Statements ?? []).SelectMany(statement => statement.Relations).Select(use => $"{Verbs(use.Access)} {use.Name}");

    private static IEnumerable<string> Locks(PostgresOperation operation)
    {
        if (operation.Understood is not { } understood)
        {
            yield break;
        }

        var text = System.Text.Encoding.UTF8.GetString(operation.Text.Span);
        var utf8 = operation.Text;
        foreach (var facts in understood.Source.Facts.Statements)
        {
            var part = facts.Length > 0 && facts.Start + facts.Length <= utf8.Length ? System.Text.Encoding.UTF8.GetString(utf8.Span.Slice(facts.Start, facts.Length)) : text;
            if (facts.Kinds.Count > 0 && LockTable.Of(part, facts.Kinds[0]) is { } row)
            {
                var on = string.Join(", ", facts.Relations.Where(use => (use.Access & RelationAccess.Write) != 0).Select(use => use.Name.ToString()));
                yield return $"Takes a lock {row.Lock}{(on.Length > 0 ? $" on {on}" : "")}: {row.Note}.";
            }

            if (facts.WhereAbsent)
            {
                yield return "Has no condition: all rows are affected.";
            }
        }
    }

    private static string Verbs(RelationAccess access)
    {
        var verbs = new List<string>();
        void Add(RelationAccess bit, string verb)
        {
            if ((access & bit) != 0)
            {
                verbs.Add(verb);
            }
        }

        Add(RelationAccess.Read, "read");
        Add(RelationAccess.Insert, "insert into");
        Add(RelationAccess.Update, "update");
        Add(RelationAccess.Delete, "delete from");
        Add(RelationAccess.Define, "define");
        return string.Join(" and ", verbs);
    }

    /// <summary>Rows of the plan's top; of a change, which itself has none, of what feeds it.</summary>
    private static long Rows(string json)
    {
        using var document = JsonDocument.Parse(json);
        var plan = document.RootElement[0].GetProperty("Plan");
        if (plan.GetProperty("Node Type").GetString() == "ModifyTable" && plan.TryGetProperty("Plans", out var inputs))
        {
            return inputs.EnumerateArray().Where(input => !input.TryGetProperty("Parent Relationship", out var relationship) || relationship.GetString() is not ("InitPlan" or "SubPlan"))
                .Sum(input => input.GetProperty("Plan Rows").GetInt64());
        }

        return plan.GetProperty("Plan Rows").GetInt64();
    }

    private static Task<GatewayAnswer> RunAsync(GatewayConnection connection, ImpactStatement statement, CancellationToken cancellation) =>
        connection.RunAsync(statement.Name, statement.Write, cancellation);

    private static string Quoted(ObjectName name) => name.Schema is { } schema ? $"{Quote(schema)}.{Quote(name.Name)}" : Quote(name.Name);

    private static string Quote(string name) => $"\"{name.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";

    private static string? Cut(string? value, int length) => value is not null && value.Length > length ? value[..length] + "…" : value;
}
