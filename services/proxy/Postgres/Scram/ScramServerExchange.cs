using System.Security.Cryptography;
using System.Text;
using Countersign.Proxy.Postgres.Messages;

namespace Countersign.Proxy.Postgres.Scram;

/// <summary>
/// The gateway's side of a client's login (RFC 5802, RFC 7677): syntax, nonces and channel binding. The proof itself is checked by identity,
/// which alone knows the verifier.
/// </summary>
internal sealed class ScramServerExchange
{
    private readonly string _gs2Header;
    private readonly byte[]? _binding;

    private ScramServerExchange(string gs2Header, string firstBare, string nonce, byte[]? binding)
    {
        _gs2Header = gs2Header;
        ClientFirstBare = firstBare;
        ClientNonce = nonce;
        _binding = binding;
    }

    /// <summary>client-first-message-bare.</summary>
    public string ClientFirstBare { get; }

    /// <summary>The client's part of the nonce.</summary>
    public string ClientNonce { get; }

    /// <summary>server-first-message, once made.</summary>
    public string ServerFirst { get; private set; } = "";

    /// <summary>Reads client-first-message.</summary>
    /// <param name="mechanism">What the client chose.</param>
    /// <param name="message">Its first message.</param>
    /// <param name="binding">tls-server-end-point of this connection, null without TLS (then -PLUS was not offered).</param>
    /// <exception cref="MalformedMessageException">Not SCRAM, or a downgrade.</exception>
    public static ScramServerExchange Begin(string mechanism, ReadOnlySpan<byte> message, byte[]? binding)
    {
        var plus = mechanism switch
        {
            ScramText.Sha256 => false,
            ScramText.Sha256Plus when binding is not null => true,
            _ => throw new MalformedMessageException("The client chose an authentication mechanism that was not offered.", "28000"),
        };
        var text = ScramText.Decode(message);
        var rest = text.AsSpan();
        var comma = rest.IndexOf(',');
        if (comma < 1)
        {
            throw new MalformedMessageException("A SCRAM message lacks its channel binding flag.");
        }

        var flag = rest[..comma];
        if (flag.SequenceEqual("p=tls-server-end-point"))
        {
            if (!plus)
            {
                throw new MalformedMessageException("Channel binding was asked for with a mechanism that has none.", "28000");
            }
        }
        else if (flag.SequenceEqual("y"))
        {
            if (binding is not null)
            {
                // The client believes that the server has no channel binding, but it was offered: somebody in between took the offer away.
                throw new MalformedMessageException("SCRAM channel binding negotiation was tampered with.", "28000");
            }
        }
        else if (!flag.SequenceEqual("n"))
        {
            throw new MalformedMessageException("This kind of channel binding is not supported.", "28000");
        }

        if (plus && flag[0] != 'p')
        {
            throw new MalformedMessageException("SCRAM-SHA-256-PLUS needs channel binding.", "28000");
        }

        rest = rest[(comma + 1)..];
        var second = rest.IndexOf(',');
        if (second != 0)
        {
            throw new MalformedMessageException("A SCRAM authorization identity is not supported.", "28000");
        }

        var header = text[..(comma + 2)];
        rest = rest[1..];
        var bare = rest.ToString();
        if (rest.StartsWith("m="))
        {
            throw new MalformedMessageException("A SCRAM extension is not supported.", "28000");
        }

        ScramText.Expect(ref rest, 'n');
        var nonce = ScramText.Expect(ref rest, 'r');
        if (nonce.Length is < 8 or > 256 || !rest.IsEmpty)
        {
            throw new MalformedMessageException("A SCRAM nonce is too short, too long, or followed by something.");
        }

        return new ScramServerExchange(header, bare, nonce, plus ? binding : null);
    }

    /// <summary>Makes server-first-message.</summary>
    public string Challenge(string serverNonce, string saltBase64, int iterations)
    {
        ServerFirst = $"r={ClientNonce}{serverNonce},s={saltBase64},i={iterations}";
        return ServerFirst;
    }

    /// <summary>Reads client-final-message and checks nonce and channel binding.</summary>
    /// <returns>The message without its proof, and the proof in base64.</returns>
    /// <exception cref="MalformedMessageException">Not SCRAM, another nonce or another channel.</exception>
    public (string WithoutProof, string Proof) Finish(ReadOnlySpan<byte> message)
    {
        var text = ScramText.Decode(message);
        var rest = text.AsSpan();
        var binding = ScramText.FromBase64(ScramText.Expect(ref rest, 'c'));
        var nonce = ScramText.Expect(ref rest, 'r');
        var proofAt = text.LastIndexOf(",p=", StringComparison.Ordinal);
        if (proofAt < 0 || rest.IndexOf("p=") < 0)
        {
            throw new MalformedMessageException("A SCRAM message lacks its proof.");
        }

        var header = Encoding.ASCII.GetBytes(_gs2Header);
        byte[] expected = _binding is null ? header : [.. header, .. _binding];
        if (!CryptographicOperations.FixedTimeEquals(expected, binding))
        {
            throw new MalformedMessageException("SCRAM channel binding check failed.", "28000");
        }

        var expectedNonce = ServerFirst[2..ServerFirst.IndexOf(',')];
        if (!CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(expectedNonce), Encoding.ASCII.GetBytes(nonce)))
        {
            throw new MalformedMessageException("A SCRAM nonce does not match.");
        }

        var proof = text[(proofAt + 3)..];
        if (ScramText.FromBase64(proof).Length != SHA256.HashSizeInBytes)
        {
            throw new MalformedMessageException("A SCRAM proof has the wrong length.");
        }

        return (text[..proofAt], proof);
    }
}
