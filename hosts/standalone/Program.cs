namespace Countersign.Standalone;

internal static class Program
{
    private static void Main()
    {
    }
}
