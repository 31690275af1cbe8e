using System.Buffers.Binary;
using System.Numerics;

namespace Countersign.Recorder.Format;

/// <summary>CRC-32C (Castagnoli; RFC 3720, appendix B.4). Finds accidents, never attacks: those are for the hashes.</summary>
public static class Crc32C
{
    /// <summary>Checksum of data, or of further data after an earlier result.</summary>
    /// <param name="data">Bytes.</param>
    /// <param name="previous">Result over the bytes before; 0 to begin.</param>
    public static uint Compute(ReadOnlySpan<byte> data, uint previous = 0)
    {
        var crc = ~previous;
        while (data.Length >= 8)
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(data));
            data = data[8..];
        }

        foreach (var value in data)
        {
            crc = BitOperations.Crc32C(crc, value);
        }

        return ~crc;
    }
}
