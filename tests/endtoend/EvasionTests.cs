using System.Text;
using System.Text.Json;
using Countersign.EndToEnd.Tests.Support;

namespace Countersign.EndToEnd.Tests;

/// <summary>
/// The corpora of the SQL understanding, sent through the whole gateway to a superuser's connection: nothing but the gateway keeps a statement
/// from doing what it says. What changed is asked of the database itself.
/// </summary>
[Collection(WorldCollection.Name)]
[Trait("group", "attacks")]
public sealed class EvasionTests(World world) : Scenario(world)
{
    /// <summary>Everything that a statement of the corpus could change, as one text.</summary>
    private const string State = """
        select md5(string_agg(line, E'\n' order by line)) from (
            select concat('t', t::text) as line from public.t
            union all select concat('u', u::text) from public.u
            union all select concat('st', x::text) from s.t x
            union all select concat('o', o::text) from public.orders o
            union all select concat('c', c::text) from public.customers c
            union all select concat('class', oid, relname, relkind, relhasrules, relhastriggers, relrowsecurity, relowner, coalesce(relacl::text, ''), coalesce(reloptions::text, '')) from pg_class where relnamespace <> 'pg_toast'::regnamespace
            union all select concat('attribute', attrelid, attname, atttypid, attnotnull) from pg_attribute where attrelid >= 16384
            union all select concat('constraint', oid, conname) from pg_constraint
            union all select concat('proc', oid, proname, prosrc, proowner, coalesce(proacl::text, ''), coalesce(proconfig::text, '')) from pg_proc where oid >= 16384
            union all select concat('role', oid, rolname, rolsuper, rolcanlogin, rolcreaterole, rolbypassrls, coalesce(rolpassword, '')) from pg_authid
            union all select concat('member', m::text) from pg_auth_members m
            union all select concat('database', oid, datname, datdba, coalesce(datacl::text, ''), datconnlimit) from pg_database
            union all select concat('setting', s::text) from pg_db_role_setting s
            union all select concat('namespace', oid, nspname, nspowner, coalesce(nspacl::text, '')) from pg_namespace where nspname !~ '^pg_(toast_)?temp'
            union all select concat('rule', oid, rulename) from pg_rewrite
            union all select concat('trigger', oid, tgname, tgenabled) from pg_trigger
            union all select concat('event', oid, evtname) from pg_event_trigger
            union all select concat('large', oid) from pg_largeobject_metadata
            union all select concat('type', oid, typname) from pg_type where oid >= 16384
            union all select concat('cast', oid) from pg_cast union all select concat('operator', oid, oprname) from pg_operator where oid >= 16384
            union all select concat('extension', extname) from pg_extension
            union all select concat('language', lanname) from pg_language
            union all select concat('server', srvname) from pg_foreign_server union all select concat('wrapper', fdwname) from pg_foreign_data_wrapper
            union all select concat('publication', pubname) from pg_publication union all select concat('subscription', subname) from pg_subscription
            union all select concat('slot', slot_name) from pg_replication_slots
            union all select concat('tablespace', spcname) from pg_tablespace
            union all select concat('comment', d::text) from pg_description d where objoid >= 16384
            union all select concat('prepared', gid) from pg_prepared_xacts
            union all select concat('file', name, setting) from pg_file_settings where sourcefile like '%auto.conf'
            union all select concat('lock', objid) from pg_locks where locktype = 'advisory') changes
        """;

    /// <summary>
    /// What may pass although it stands among the evasions: it looks like one and only reads, so the server, too, runs nothing else. By a part of its text.
    /// </summary>
    private static readonly string[] OnlyReads =
    [
        // Literals and names that only look like a statement.
        "'\\'; drop database prod; --'",
        "with t as (select 1) select * from public.t",
        "with t as (table t) select * from t",
        "select * from (with t as (select 1) select * from t) x, t",
        "with a as (select * from t), t as (select 1) select * from a",
        "with recursive t as (select 1 union select * from t) select * from t, (select * from s.t) x",
        "copy t to stdout",
        // Back to what the session began with, and what a pool does between two users: nothing that it could not do without the gateway's role.
        "reset role",
        "set local session authorization default",
        "set time zone 'UTC'",
        "set transaction read write",
        "set session characteristics as transaction read write",
        "set default_transaction_read_only = off",
        "reset all",
        "discard all",
        "deallocate all",
        "close all",
        // Types and operators that don't exist here. Those that do run code that no tree shows; creating one is held.
        "select 'x'::mydomain",
        "select cast(a as s.t) from t",
        "select a operator(evil.=) b from t",
        "select a === b from t",
        "select a from t order by a using operator(evil.<)",
        "select mytype '1'",
        "select (t).f from t",
        "select a from t where a = any (array[]::evil[])",
        "select a operator(evil.=) any (select 1) from t",
        "select null::s.t",
    ];

    /// <summary>Harmless as text, but not under these policies: other people's values, running for real, or relations that don't exist here, so that no mask can be worked out.</summary>
    private static readonly string[] StoppedOnPurpose = ["These catalogs hold values", "which the catalog doesn't know", "which can't be resolved", "explain analyze"];

    private static readonly JsonSerializerOptions Web = new(JsonSerializerDefaults.Web);

    private sealed record Case(string Sql, int PadTo, bool? ReadOnly);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task No_evasion_runs(bool extended)
    {
        var passed = new List<string>();
        var before = await World.TruthAsync(State);
        RawClient? client = null;
        try
        {
            foreach (var each in Read("sql-evasion.jsonl"))
            {
                var text = each.PadTo > 0 ? each.Sql.PadRight(each.PadTo) : each.Sql;
                client ??= await World.Alice.ConnectAsync("root");
                var (outcome, ready) = await TryAsync(client, text, extended);
                if (outcome == "passed")
                {
                    passed.Add(each.Sql);
                }

                if (!ready || outcome == "passed")
                {
                    client.Dispose();
                    client = null;
                }

                var now = await World.TruthAsync(State);
                Assert.True(before == now, $"something was changed by: {each.Sql}");
            }
        }
        finally
        {
            client?.Dispose();
        }

        var unexpected = passed.Where(text => !OnlyReads.Any(known => text.Contains(known, StringComparison.Ordinal))).ToList();
        Assert.True(unexpected.Count == 0, $"passed: {string.Join("\n", unexpected)}");
    }

    [Fact]
    public async Task What_is_harmless_passes()
    {
        var stopped = new List<string>();
        using var client = await World.Alice.ConnectAsync("root");
        foreach (var each in Read("sql-harmless.jsonl").Where(each => each.ReadOnly == true))
        {
            if (each.Sql.Contains('$', StringComparison.Ordinal) && !each.Sql.Contains("$$", StringComparison.Ordinal))
            {
                // A text with parameters is no simple query.
                continue;
            }

            var replies = await RunAsync(client, each.Sql);
            if (replies.FirstOrDefault(reply => reply.Type == 'E') is { } error && error.Field('C') == "42501" && !StoppedOnPurpose.Any(error.ToString().Contains) && !StoppedOnPurpose.Any(each.Sql.Contains))
            {
                stopped.Add($"{error.Field('M')} <- {each.Sql}");
            }
        }

        Assert.True(stopped.Count == 0, string.Join("\n\n", stopped));
    }

    private static IEnumerable<Case> Read(string file) =>
        File.ReadLines(Path.Combine(AppContext.BaseDirectory, "corpus", file)).Where(line => line.Length > 0).Select(line => JsonSerializer.Deserialize<Case>(line, Web)!);

    /// <summary>Runs it; a hold is cancelled.</summary>
    private static async Task<List<Reply>> RunAsync(RawClient client, string text)
    {
        client.Query(text);
        await client.FlushAsync();
        var replies = new List<Reply>();
        while (replies.Count == 0 || replies[^1].Type != 'Z')
        {
            var reply = await client.ReadAsync();
            replies.Add(reply);
            if (reply.Type == 'N' && Holds.RequestOf(reply) is not null)
            {
                await client.CancelAsync();
            }
        }

        return [.. replies.Select(reply => reply.Type == 'E' && reply.Field('C') == "57014" ? new Reply('E', Encoding.UTF8.GetBytes("C42501\0Mheld\0")) : reply)];
    }

    private static async Task<(string Outcome, bool Ready)> TryAsync(RawClient client, string text, bool extended)
    {
        if (extended)
        {
            client.Parse("", text).Bind("", "").Execute("").Sync();
        }
        else
        {
            client.Query(text);
        }

        await client.FlushAsync();
        var outcome = "passed";
        var bound = !extended;
        while (true)
        {
            if (await client.TryReadAsync() is not { } reply)
            {
                return ("closed", false);
            }

            switch (reply.Type)
            {
                case '2':
                    bound = true;
                    break;
                case 'N' when Holds.RequestOf(reply) is not null:
                    await client.CancelAsync();
                    outcome = "held";
                    break;

                // The gateway's own codes. An error of the server's means that the text went through, but for a Parse: that runs nothing.
                case 'E' when outcome == "passed" && (!bound || reply.Field('C') is "42501" or "0A000" or "08P01" or "54000" or "22021"):
                    outcome = "denied";
                    break;
                case 'G':
                    client.Message('f', "no");
                    await client.FlushAsync();
                    break;
                case 'Z':
                    return (outcome, reply.Body[0] == 'I');
            }
        }
    }
}
