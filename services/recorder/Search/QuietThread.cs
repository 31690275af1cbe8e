using System.Runtime.InteropServices;

namespace Countersign.Recorder.Search;

/// <summary>Work that gets the processor only where nobody else needs it much: a thread of its own, with a niceness, which .NET's priorities don't give on Linux.</summary>
internal static class QuietThread
{
    private const int OfThread = 0;
    private const int Niceness = 10;

    /// <summary>Runs it to its end.</summary>
    public static Task RunAsync(string name, Action work)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() =>
        {
            if (OperatingSystem.IsLinux())
            {
                // 0 is the calling thread. Where it fails the work is only less quiet.
                _ = SetPriority(OfThread, 0, Niceness);
            }

            try
            {
                work();
                done.SetResult();
            }
            catch (OperationCanceledException cancelled)
            {
                done.SetCanceled(cancelled.CancellationToken);
            }
#pragma warning disable CA1031 // handed to the one who awaits
            catch (Exception error)
#pragma warning restore CA1031
            {
                done.SetException(error);
            }
        })
        {
            IsBackground = true,
            Name = name,
        };
        thread.Start();
        return done.Task;
    }

#pragma warning disable SYSLIB1054, CA5392 // blittable arguments: nothing to generate; libc is not looked up in a folder
    [DllImport("libc", EntryPoint = "setpriority")]
    private static extern int SetPriority(int which, int who, int niceness);
#pragma warning restore SYSLIB1054, CA5392
}
