using System.Security.Cryptography;
using System.Text;

namespace Countersign.Identity.Federation.DevIssuer;

/// <summary>A user without the password.</summary>
internal sealed record DevAccount(string Name, string Email, IReadOnlyList<string> Groups);

/// <summary>Users of the development issuer, with PBKDF2 hashes of their passwords.</summary>
internal sealed class DevUsers
{
    private const int Iterations = 20_000;
    private readonly Dictionary<string, (DevAccount Account, byte[] Salt, byte[] Hash)> _users = new(StringComparer.OrdinalIgnoreCase);
    private readonly byte[] _mockSalt = RandomNumberGenerator.GetBytes(16);

    public DevUsers(DevIssuerOptions options)
    {
        foreach (var user in options.Users)
        {
            var email = string.IsNullOrEmpty(user.Email) ? $"{user.Name}@example.test" : user.Email;
            var salt = RandomNumberGenerator.GetBytes(16);
            _users[user.Name] = (new DevAccount(user.Name, email, [.. user.Groups]), salt, Hash(user.Password, salt));
        }
    }

    public DevAccount? Find(string name) => _users.TryGetValue(name, out var user) ? user.Account : null;

    public DevAccount? Check(string name, string password)
    {
        var found = _users.TryGetValue(name, out var user);
        var hash = Hash(password, found ? user.Salt : _mockSalt);
        return found && CryptographicOperations.FixedTimeEquals(hash, user.Hash) ? user.Account : null;
    }

    private static byte[] Hash(string password, byte[] salt)
        => Rfc2898DeriveBytes.Pbkdf2(Encoding.UTF8.GetBytes(password), salt, Iterations, HashAlgorithmName.SHA256, 32);
}
