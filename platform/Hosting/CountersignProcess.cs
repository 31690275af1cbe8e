using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Hosting;

/// <summary>Something that a storage needs before services can use it, by rights that they needn't have: a schema that is up to date.</summary>
public interface IStoragePreparation
{
    /// <summary>Does it. Nothing to do is no error.</summary>
    Task PrepareAsync(CancellationToken cancellation);
}

/// <summary>A process from its composition to its exit code.</summary>
public static class CountersignProcess
{
    /// <summary>Exit code where the options are wrong (EX_CONFIG of sysexits).</summary>
    public const int WrongOptions = 78;

    /// <summary>Setting by which a process prepares its storage and ends, and is no service.</summary>
    public const string PrepareOnly = "Countersign:Storage:PrepareOnly";

    /// <summary>
    /// Runs until it is asked to stop, or prepares its storage and ends where <see cref="PrepareOnly"/> says so. Wrong options are listed on standard error, one a line,
    /// instead of a stack trace.
    /// </summary>
    /// <param name="compose">Builds the application.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(Func<WebApplication> compose)
    {
        ArgumentNullException.ThrowIfNull(compose);
        try
        {
            await using var app = compose();
            if (app.Configuration.GetValue(PrepareOnly, false))
            {
                await PrepareAsync(app.Services.GetServices<IStoragePreparation>());
                return 0;
            }

            await app.RunAsync();
            return 0;
        }
        catch (Exception error) when (Failures(error) is { Count: > 0 } failures)
        {
            await Console.Error.WriteLineAsync("The configuration is wrong, and so the process does not start:");
            foreach (var failure in failures)
            {
                await Console.Error.WriteLineAsync("  " + failure);
            }

            return WrongOptions;
        }
    }

    private static async Task PrepareAsync(IEnumerable<IStoragePreparation> preparations)
    {
        var any = false;
        foreach (var preparation in preparations)
        {
            any = true;
            await preparation.PrepareAsync(CancellationToken.None);
        }

        if (!any)
        {
            throw new OptionsValidationException(PrepareOnly, typeof(IStoragePreparation), [$"{PrepareOnly} is set, and there is no storage to prepare: set Countersign:Storage:PostgresFile."]);
        }
    }

    // Null where anything else is among them: that must not be hidden.
    private static List<string>? Failures(Exception error)
    {
        var all = error is AggregateException several ? several.Flatten().InnerExceptions : (IReadOnlyList<Exception>)[error];
        return all.All(each => each is OptionsValidationException) ? [.. all.Cast<OptionsValidationException>().SelectMany(each => each.Failures).Distinct()] : null;
    }
}
