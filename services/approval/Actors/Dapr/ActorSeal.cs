using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Serialization;
using Countersign.Platform.Ports;
using Countersign.Platform.Tokens;
using Microsoft.Extensions.DependencyInjection;

namespace Countersign.Approval.Actors.Dapr;

/// <summary>A message on its way to an actor. Dapr lets every app of the trust domain call every actor: the signature says that approval itself sent it.</summary>
/// <param name="Message">JSON of a message; empty for a wake-up.</param>
/// <param name="Token">Signature by approval over the actor's type and id and the message.</param>
public sealed record ActorEnvelope(byte[] Message, string Token)
{
    /// <summary>Never prints either.</summary>
    public override string ToString() => nameof(ActorEnvelope);
}

/// <summary>What is signed.</summary>
internal sealed record ActorClaims(
    [property: JsonPropertyName("iss")] string Issuer,
    [property: JsonPropertyName("aud")] string Audience,
    [property: JsonPropertyName("iat")] long IssuedAt,
    [property: JsonPropertyName("exp")] long ExpiresAt,
    [property: JsonPropertyName("hash")] string Hash);

/// <summary>Seals messages to actors and checks seals. A message that is repeated within its minute does nothing new: commands are idempotent.</summary>
internal sealed class ActorSeal([FromKeyedServices(AppIds.Approval)] SigningKey key, ITrustedKeys keys, TimeProvider clock)
{
    private static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(1);

    public ActorEnvelope Seal(string type, string id, ReadOnlySpan<byte> message)
    {
        var now = clock.GetUtcNow();
        var claims = new ActorClaims(AppIds.Approval, AppIds.Approval, now.ToUnixTimeSeconds(), (now + Lifetime).ToUnixTimeSeconds(), Hash(type, id, message));
        return new ActorEnvelope(message.ToArray(), key.Sign(TokenTypes.Actor, claims));
    }

    /// <exception cref="TokenRejectedException">Somebody else sent it, or it was meant for another actor.</exception>
    public async ValueTask OpenAsync(string type, string id, ActorEnvelope? envelope, CancellationToken cancellation)
    {
        if (envelope is not { Message: not null, Token.Length: > 0 })
        {
            throw new TokenRejectedException("the message is not sealed");
        }

        var own = await keys.GetAsync(AppIds.Approval, cancellation);
        var claims = await own.VerifyAsync<ActorClaims>(envelope.Token, TokenTypes.Actor, AppIds.Approval, AppIds.Approval, clock.GetUtcNow());
        if (claims.Hash != Hash(type, id, envelope.Message))
        {
            throw new TokenRejectedException("the seal is of another message");
        }
    }

    // Types and ids have no line breaks.
    private static string Hash(string type, string id, ReadOnlySpan<byte> message)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"{type}\n{id}\n"));
        hash.AppendData(message);
        return Convert.ToBase64String(hash.GetHashAndReset());
    }
}
