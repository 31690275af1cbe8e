using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Hosting;

/// <summary>A process from its composition to its exit code.</summary>
public static class CountersignProcess
{
    /// <summary>Exit code where the options are wrong (EX_CONFIG of sysexits).</summary>
    public const int WrongOptions = 78;

    /// <summary>Runs until it is asked to stop. Wrong options are listed on standard error, one a line, instead of a stack trace.</summary>
    /// <param name="compose">Builds the application.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(Func<WebApplication> compose)
    {
        ArgumentNullException.ThrowIfNull(compose);
        try
        {
            await using var app = compose();
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

    // Null where anything else is among them: that must not be hidden.
    private static List<string>? Failures(Exception error)
    {
        var all = error is AggregateException several ? several.Flatten().InnerExceptions : (IReadOnlyList<Exception>)[error];
        return all.All(each => each is OptionsValidationException) ? [.. all.Cast<OptionsValidationException>().SelectMany(each => each.Failures).Distinct()] : null;
    }
}
