namespace Countersign.Recorder.Host;

internal static class Program
{
    private static void Main()
    {
    }
}
