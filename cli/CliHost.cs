using System.Diagnostics;
using System.Text;

namespace Countersign.Cli;

/// <summary>Everything outside of the tool that a command touches, so that a test can stand in for it.</summary>
internal sealed class CliHost
{
    public required TextReader In { get; init; }

    public required TextWriter Out { get; init; }

    public required TextWriter Error { get; init; }

    public bool InputIsTerminal { get; init; }

    public bool OutputIsTerminal { get; init; }

    /// <summary>Environment variables.</summary>
    public required Func<string, string?> Variable { get; init; }

    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>The one place where HTTP connections begin. Redirects are off: a token must not follow one.</summary>
    public Func<HttpMessageHandler> CreateHandler { get; init; } = () => new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        ConnectTimeout = TimeSpan.FromSeconds(10),
    };

    /// <summary>Opens a page in the person's browser; false where there is none.</summary>
    public Func<Uri, bool> OpenBrowser { get; init; } = OpenWithDesktop;

    public CancellationToken Interrupted { get; init; }

    /// <summary>True while a client process in the foreground is the one that Ctrl-C is meant for.</summary>
    public bool ClientOwnsSignals { get; set; }

    public static CliHost OfProcess(CancellationToken interrupted)
    {
        // The default writer of a pipe is not buffered by lines and has no BOM; UTF-8 whatever the locale says, since JSON is UTF-8.
        var utf8 = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        return new CliHost
        {
            // Not Console.In, which switches the terminal's keypad mode for a line editor that nobody uses here.
            In = new StreamReader(Console.OpenStandardInput(), utf8),
            Out = new StreamWriter(Console.OpenStandardOutput(), utf8) { AutoFlush = true },
            Error = new StreamWriter(Console.OpenStandardError(), utf8) { AutoFlush = true },
            InputIsTerminal = !Console.IsInputRedirected,
            OutputIsTerminal = !Console.IsOutputRedirected,
            Variable = System.Environment.GetEnvironmentVariable,
            Interrupted = interrupted,
        };
    }

    private static bool OpenWithDesktop(Uri page)
    {
        try
        {
            using var opener = Process.Start(new ProcessStartInfo("xdg-open", [page.AbsoluteUri])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                RedirectStandardInput = true,
            });
            return opener is not null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }
}
