namespace Countersign.Proxy.Host;

internal static class Program
{
    private static void Main()
    {
    }
}
