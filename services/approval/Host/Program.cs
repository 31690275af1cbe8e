namespace Countersign.Approval.Host;

internal static class Program
{
    private static void Main()
    {
    }
}
