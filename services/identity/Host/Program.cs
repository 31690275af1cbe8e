namespace Countersign.Identity.Host;

internal static class Program
{
    private static void Main()
    {
    }
}
