using Countersign.Approval.Contracts;

namespace Countersign.Proxy.Postgres.Tests;

/// <summary>Access windows, which no digest binds to a context, in sessions that have another one than was approved; with psql, against a real server.</summary>
[Trait("group", "postgres")]
[Trait("group", "attacks")]
public sealed class WindowTests(ServerFixture server)
{
    [Theory]
    [InlineData("set role win_owner")]
    [InlineData("set session authorization win_owner")]
    [InlineData("set row_security = off")]
    [InlineData("set session_replication_role = replica")]
    [InlineData("set search_path = win_evil, public")]
    [InlineData("create temp table win_shadow(a int)")]
    [InlineData("begin; set local role win_owner")]
    public async Task What_runs_in_another_context_is_held_whatever_window_is_open(string before)
    {
        var table = $"win_{Guid.NewGuid():N}"[..20];
        await server.DirectAsync($"""
            do $$ begin create role win_owner; exception when duplicate_object then null; end $$;
            create schema if not exists win_evil;
            create table {table}(a int); insert into {table} values (0); grant all on {table} to win_owner;
            """);
        await using var gateway = new Gateway(server.Port);
        var hold = FunctionDecider.Hold;
        gateway.Decider.By(hold: ["UPDATE"], held: hold with { Terms = hold.Terms! with { LongestWindow = TimeSpan.FromHours(1) } });
        gateway.Approvals.Window = new AccessWindow(600, ["UPDATE"], ["public." + table]);

        // Not even opened: its clock doesn't start.
        await HeldAsync(gateway, $"{before};\nupdate public.{table} set a = a + 100;");
        Assert.Equal(0, gateway.Approvals.Opened);

        var output = await HeldAsync(gateway, $"update public.{table} set a = a + 1;\nupdate public.{table} set a = a + 1;\n{before};\nupdate public.{table} set a = a + 100;");
        Assert.Equal(2, output.Split('\n').Count(line => line == "UPDATE 1"));
        Assert.Equal(1, gateway.Approvals.Opened);
        Assert.Equal("2\n", await server.DirectAsync($"select a from {table};"));
    }

    [Fact]
    public async Task Back_in_its_own_context_the_window_is_as_open_as_before()
    {
        await server.DirectAsync("create table win2(a int); insert into win2 values (0); do $$ begin create role win_owner; exception when duplicate_object then null; end $$;");
        await using var gateway = new Gateway(server.Port);
        var hold = FunctionDecider.Hold;
        gateway.Decider.By(hold: ["UPDATE"], held: hold with { Terms = hold.Terms! with { LongestWindow = TimeSpan.FromHours(1) } });
        gateway.Approvals.Window = new AccessWindow(600, ["UPDATE"], ["public.win2"]);
        var output = await gateway.PsqlAsync("set timezone = 'Asia/Tokyo'; set role win_owner;\nreset role;\nbegin;\nupdate public.win2 set a = 1;\ncommit;");
        Assert.Contains("UPDATE 1", output, StringComparison.Ordinal);
        Assert.Empty(gateway.Approvals.Asked);
    }

    private static async Task<string> HeldAsync(Gateway gateway, string script)
    {
        var running = gateway.PsqlAsync(script);
        var request = await gateway.Approvals.NextAsync();
        gateway.Approvals.Decide(request, approve: false);
        return await running;
    }
}
