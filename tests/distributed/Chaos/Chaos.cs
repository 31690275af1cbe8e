namespace Countersign.Distributed.Tests.Chaos;

/// <summary>How a run goes.</summary>
internal static class Chaos
{
    /// <summary>Does something while the load goes on, and events are doubled, delayed and so overtake one another. Everything has ended when it returns.</summary>
    public static async Task<Load> UnderFaultsAsync(ChaosCluster cluster, Func<Load, Task> act)
    {
        var faults = cluster.Processes.Plane.Faults;
        (faults.Duplicate, faults.Delay, faults.LongestDelay) = (0.3, 0.3, TimeSpan.FromMilliseconds(700));
        try
        {
            return await UnderLoadAsync(cluster, act);
        }
        finally
        {
            (faults.Duplicate, faults.Delay) = (0, 0);
        }
    }

    /// <summary>Does something while the load goes on.</summary>
    public static async Task<Load> UnderLoadAsync(ChaosCluster cluster, Func<Load, Task> act)
    {
        var load = Load.Start(cluster);
        try
        {
            await load.ProgressAsync(3);
            await act(load);
            load.Phase = "end";
        }
        catch (Exception error)
        {
            throw new InvalidOperationException($"{load.Phase}: {load.Done} statements had ended", error);
        }
        finally
        {
            await load.StopAsync();
            foreach (var same in load.Mishaps.GroupBy(each => each))
            {
                TestContext.Current.TestOutputHelper?.WriteLine($"{same.Count()} x {same.Key.Phase}: {same.Key.Who}: {same.Key.What}");
            }
        }

        return load;
    }
}
