namespace Countersign.Policy.Host;

internal static class Program
{
    private static void Main()
    {
    }
}
