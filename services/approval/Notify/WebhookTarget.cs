using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;

namespace Countersign.Approval.Notify;

/// <summary>Posts notifications to one URL. Follows no redirects, keeps no cookies, uses no proxy, and reads nothing of the answer but its head.</summary>
public sealed class WebhookTarget : INotificationTarget, IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan MaxWish = TimeSpan.FromHours(1);
    private readonly WebhookOptions _options;
    private readonly TargetFilter _filter;
    private readonly TimeProvider _clock;
    private readonly HttpClient _http;

    /// <summary>A target.</summary>
    public WebhookTarget(WebhookOptions options, TimeProvider clock)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _clock = clock;
        _filter = new TargetFilter(options.Events, options.Groups);
        _http = new HttpClient(
            new SocketsHttpHandler
            {
                AllowAutoRedirect = false,
                UseCookies = false,
                UseProxy = false,
                ConnectTimeout = Patience,
                MaxResponseHeadersLength = 16,
                PooledConnectionLifetime = TimeSpan.FromMinutes(5),
                ConnectCallback = ConnectAsync,
            },
            disposeHandler: true)
        {
            Timeout = Patience,
        };
    }

    /// <inheritdoc/>
    public string Name => _options.Name;

    /// <inheritdoc/>
    public bool Wants(string name, IReadOnlyCollection<string> groups) => _filter.Wants(name, groups);

    /// <inheritdoc/>
    public async ValueTask<Delivery> DeliverAsync(QueuedNotification message, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(message);
        try
        {
            // Read each time: a secret that was replaced counts from the next message on.
            var url = _options.UrlFile.Length > 0 ? (await File.ReadAllTextAsync(_options.UrlFile, cancellation)).Trim() : _options.Url;
            var secrets = _options.SecretFile.Length > 0 ? WebhookSignature.Secrets(await File.ReadAllTextAsync(_options.SecretFile, cancellation)) : [];
            if (NotifyOptionsCheck.Address(url) is not { } address || secrets is null)
            {
                return new Delivery("the file of the URL or secret is malformed");
            }

            var body = _options.Kind == "slack"
                ? WebhookBody.Slack(message.Notification, _options.Statements)
                : WebhookBody.Json(message.Notification, _options.Statements);
            var timestamp = _clock.GetUtcNow().ToUnixTimeSeconds();
            using var request = new HttpRequestMessage(HttpMethod.Post, address) { Content = new ByteArrayContent(body) };
            request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json") { CharSet = "utf-8" };
            request.Headers.UserAgent.Add(new ProductInfoHeaderValue("Countersign", "1"));
            request.Headers.Add("webhook-id", message.Id);
            request.Headers.Add("webhook-timestamp", timestamp.ToString(CultureInfo.InvariantCulture));
            if (secrets.Count > 0)
            {
                request.Headers.Add("webhook-signature", WebhookSignature.Sign(secrets, message.Id, timestamp, body));
            }

            using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation);
            return response.IsSuccessStatusCode
                ? Delivery.Done
                : new Delivery(string.Create(CultureInfo.InvariantCulture, $"status {(int)response.StatusCode}"))
                {
                    // The receiver says that there is nobody here any more.
                    Final = response.StatusCode == HttpStatusCode.Gone,
                    RetryAfter = Wish(response.Headers.RetryAfter),
                };
        }
        catch (Exception error) when (error is HttpRequestException or IOException or UnauthorizedAccessException
            || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            return new Delivery(error switch
            {
                HttpRequestException { InnerException: AddressRefusedException } => "its address is not one that may be told",
                HttpRequestException http => $"no connection ({http.HttpRequestError})",
                OperationCanceledException => "no answer in time",
                _ => "a file can't be read",
            });
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    /// <summary>Whether an address may be told: what answers there for the machine itself or its cloud never, what is private only where it is meant.</summary>
    public static bool MayTell(IPAddress address, bool loopback, bool privateNetwork)
    {
        ArgumentNullException.ThrowIfNull(address);
        address = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        if (IPAddress.IsLoopback(address))
        {
            return loopback;
        }

        if (address.AddressFamily == AddressFamily.InterNetworkV6)
        {
            return !address.IsIPv6LinkLocal && !address.IsIPv6Multicast && !address.Equals(IPAddress.IPv6Any)
                && (privateNetwork || (!address.IsIPv6UniqueLocal && !address.IsIPv6SiteLocal && IsOrdinary(address)));
        }

        var bytes = address.GetAddressBytes();
        return bytes switch
        {
            [0, ..] or [169, 254, ..] or [>= 224, ..] => false,
            [10, ..] or [172, >= 16 and <= 31, ..] or [192, 168, ..] or [100, >= 64 and <= 127, ..] => privateNetwork,
            _ => true,
        };
    }

    // NAT64 and 6to4 carry an IPv4 address that nobody would look at.
    private static bool IsOrdinary(IPAddress address) => address.GetAddressBytes() is not ([0x00, 0x64, 0xFF, 0x9B, ..] or [0x20, 0x02, ..] or [0, 0, 0, 0, ..]);

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellation)
    {
        var host = context.DnsEndPoint.Host;
        var addresses = IPAddress.TryParse(host, out var literal) ? [literal] : await Dns.GetHostAddressesAsync(host, cancellation);
        // The address that is checked is the one that is connected to: a name can't change its mind in between.
        var good = Array.FindAll(addresses, address => MayTell(address, NotifyOptionsCheck.IsLoopback(host), _options.PrivateNetwork));
        if (good.Length == 0)
        {
            throw new AddressRefusedException();
        }

        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(good, context.DnsEndPoint.Port, cancellation);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private TimeSpan? Wish(RetryConditionHeaderValue? header) => (header?.Delta ?? (header?.Date - _clock.GetUtcNow())) switch
    {
        { } wait when wait > MaxWish => MaxWish,
        { } wait when wait > TimeSpan.Zero => wait,
        _ => null,
    };

    private sealed class AddressRefusedException() : IOException("the address is not one that may be told");
}
