using System.Net.Http.Headers;
using System.Net.Http.Json;
using Countersign.Platform.Ports;
using Countersign.Proxy.Path.Record;
using Countersign.Recorder.Contracts;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Proxy.Host.Recording;

/// <summary>Entries to the recorder over HTTP. Whatever goes wrong means: not acknowledged, try again.</summary>
internal sealed class HttpEntryTransport([FromKeyedServices(AppIds.Proxy)] IServiceClients clients) : IEntryTransport
{
    private static readonly MediaTypeHeaderValue Frames = new("application/vnd.countersign.entries");

    public async ValueTask<BatchResult> SendAsync(ReadOnlyMemory<byte> batch, CancellationToken cancellation)
    {
        using var content = new ReadOnlyMemoryContent(batch);
        content.Headers.ContentType = Frames;
        using var response = await clients.Create(AppIds.Recorder)
            .PostAsync(new Uri("v1/batches", UriKind.Relative), content, cancellation).ConfigureAwait(false);
        response.EnsureSuccessStatusCode();
        return await response.Content.ReadFromJsonAsync<BatchResult>(cancellation).ConfigureAwait(false) ?? throw new HttpRequestException("empty answer");
    }
}
