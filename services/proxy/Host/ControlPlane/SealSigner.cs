using Countersign.Platform.Tokens;
using Countersign.Recorder.Format;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>The proxy's own key, as the spool signs seals with it.</summary>
internal sealed class SealSigner(SigningKey key) : ISealSigner
{
    public string KeyId => key.KeyId;

    public byte[] Sign(ReadOnlySpan<byte> data) => key.SignRaw(data);
}
