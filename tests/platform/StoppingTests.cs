using System.Net;
using Countersign.Platform.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Tests;

/// <summary>How a process leaves: others hear of it before it takes nothing more.</summary>
[Trait("group", "unit")]
public sealed class StoppingTests
{
    [Fact]
    public async Task Who_is_asked_to_stop_says_so_and_goes_on_until_others_had_time_to_turn_away()
    {
        var clock = new HeldClock();
        await using var app = Build("00:00:30", clock);
        await app.StartAsync(TestContext.Current.CancellationToken);
        using var client = new HttpClient { BaseAddress = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single()) };
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("health/live", TestContext.Current.CancellationToken)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("health/ready", TestContext.Current.CancellationToken)).StatusCode);

        // What SIGTERM does.
        app.Lifetime.StopApplication();
        var stopping = app.StopAsync(TestContext.Current.CancellationToken);
        await clock.Waited.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.Equal(TimeSpan.FromSeconds(30), clock.Pause);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await client.GetAsync("health/live", TestContext.Current.CancellationToken)).StatusCode);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await client.GetAsync("health/ready", TestContext.Current.CancellationToken)).StatusCode);
        Assert.Equal("work", await client.GetStringAsync("work", TestContext.Current.CancellationToken));
        Assert.False(stopping.IsCompleted);

        clock.Pass();
        await stopping;
        await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync("work", TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("-00:00:01")]
    [InlineData("00:05:01")]
    [InlineData("soon")]
    public async Task A_delay_that_makes_no_sense_stops_the_start(string delay)
    {
        var error = await Assert.ThrowsAnyAsync<OptionsValidationException>(async () =>
        {
            await using var app = Build(delay, new HeldClock());
        });
        Assert.Contains("Countersign:StopDelay", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_host_gives_the_delay_time_of_its_own()
    {
        await using var app = Build("00:04:00", new HeldClock());
        Assert.Equal(new HostOptions().ShutdownTimeout + TimeSpan.FromMinutes(4), app.Services.GetRequiredService<IOptions<HostOptions>>().Value.ShutdownTimeout);
    }

    private static WebApplication Build(string delay, TimeProvider clock)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddRoutingCore();
        builder.Logging.ClearProviders();
        builder.Configuration["Countersign:StopDelay"] = delay;
        builder.Services.AddSingleton(clock);
        builder.AddCountersignHosting("test");
        var app = builder.Build();
        app.UseCountersignHosting();
        app.MapGet("/work", () => "work");
        return app;
    }

    /// <summary>A clock whose one timer goes off when the test says so.</summary>
    private sealed class HeldClock : TimeProvider
    {
        private Action? _due;

        public TaskCompletionSource Waited { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TimeSpan Pause { get; private set; }

        public void Pass() => _due!();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            if (dueTime < TimeSpan.FromSeconds(30))
            {
                return base.CreateTimer(callback, state, dueTime, period);
            }

            Pause = dueTime;
            _due = () => callback(state);
            Waited.TrySetResult();
            return new Held();
        }

        private sealed class Held : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
