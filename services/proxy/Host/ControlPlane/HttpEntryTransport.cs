using System.Net.Http.Headers;
using System.Net.Http.Json;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Proxy.Host.ControlPlane;

/// <summary>Ships entries to the recorder over HTTP.</summary>
internal sealed class HttpEntryTransport([FromKeyedServices(AppIds.Proxy)] IServiceClients clients) : IEntryTransport
{
    public async ValueTask<BatchResult> SendAsync(ReadOnlyMemory<byte> batch, CancellationToken cancellation)
    {
        using var content = new ReadOnlyMemoryContent(batch);
        content.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        using var response = await clients.Create(AppIds.Recorder).PostAsync(new Uri("v1/batches", UriKind.Relative), content, cancellation).ConfigureAwait(false);
        response.EnsureSuccessStatusCode();
        return await response.Content.ReadFromJsonAsync<BatchResult>(TokenJson.Options, cancellation).ConfigureAwait(false)
            ?? throw new HttpRequestException("empty answer");
    }
}
