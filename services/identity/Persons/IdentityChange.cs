using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Countersign.Identity.Persons;

/// <summary>Kinds of changes that need a second person (I3).</summary>
public static class ChangeKinds
{
    /// <summary>Admits a person as possible approver.</summary>
    public const string Enrol = "enrol";
    /// <summary>Gives a disabled person back what policy gives them; not their enrolment.</summary>
    public const string Enable = "enable";
    /// <summary>Says that two persons are one human.</summary>
    public const string Link = "link";
    /// <summary>Says that they are not.</summary>
    public const string Unlink = "unlink";
    /// <summary>Says that two persons who look like one human are not.</summary>
    public const string Distinct = "distinct";
    /// <summary>Makes a service account with its owners.</summary>
    public const string ServiceAccount = "service-account";
    /// <summary>Sets the owners of a service account, persons and a team.</summary>
    public const string Owners = "owners";
    /// <summary>Says that the set of service keys that is enrolled is the right one.</summary>
    public const string Keys = "keys";
    /// <summary>Removal: takes everything from a person.</summary>
    public const string Disable = "disable";
    /// <summary>Removal: takes the right to decide from a person.</summary>
    public const string WithdrawEnrolment = "withdraw-enrolment";
    /// <summary>Removal: takes back an access credential.</summary>
    public const string RevokeCredential = "revoke-credential";
    /// <summary>Removal: ends a session.</summary>
    public const string EndSession = "end-session";

    /// <summary>Whether a change only takes access away: it takes effect at once, and is reviewed.</summary>
    public static bool IsRemoval(string kind) => kind is Disable or WithdrawEnrolment or RevokeCredential or EndSession;
}

/// <summary>One change of who counts as whom: what a control request at approval is about (docs/formats/identity-change.md).</summary>
/// <param name="Kind">One of <see cref="ChangeKinds"/>.</param>
/// <param name="Persons">Persons it is about: one, the two linked ones in ordinal order, or the new account and then its owners in ordinal order.</param>
/// <param name="Name">Name of the person or the account, for people; the credential or session of a removal.</param>
/// <param name="Team">Group of the provider that owns the account too; empty for none.</param>
public sealed record IdentityChange(string Kind, IReadOnlyList<string> Persons, string Name, string Team = "")
{
    /// <summary>The canonical document, frozen: ASCII JSON, members in this order, no white space.</summary>
    public string ToDocument()
    {
        var text = new StringBuilder("{\"change\":");
        Append(text, Kind);
        text.Append(",\"name\":");
        Append(text, Name);
        text.Append(",\"persons\":[");
        for (var index = 0; index < Persons.Count; index++)
        {
            text.Append(index == 0 ? "" : ",");
            Append(text, Persons[index]);
        }

        if (!string.IsNullOrEmpty(Team))
        {
            text.Append("],\"team\":");
            Append(text, Team);
            return text.Append(",\"version\":2}").ToString();
        }

        return text.Append("],\"version\":1}").ToString();
    }

    /// <summary>SHA-256 of the document, 64 lower-case hexadecimal digits.</summary>
    public string Digest() => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(ToDocument())));

    /// <summary>What an approver reads.</summary>
    /// <param name="names">Names of the persons by id.</param>
    public string ToText(IReadOnlyDictionary<string, string> names)
    {
        string Who(string id) => names.TryGetValue(id, out var name) ? $"{name} ({id})" : id;
        return Kind switch
        {
            ChangeKinds.Enrol => $"+ {Who(Persons[0])} is enrolled: may approve what others request",
            ChangeKinds.Enable => $"+ {Who(Persons[0])} is no longer disabled",
            ChangeKinds.Link => $"+ {Who(Persons[0])} and {Who(Persons[1])} are one human: neither can approve for the other",
            ChangeKinds.Unlink => $"- {Who(Persons[0])} and {Who(Persons[1])} are one human: each could then approve for the other",
            ChangeKinds.Distinct => $"+ {Who(Persons[0])} and {Who(Persons[1])} look alike but are two humans: each can approve for the other",
            ChangeKinds.ServiceAccount => $"+ service account {Name} ({Persons[0]}), owned by {OwnerText(Who)}",
            ChangeKinds.Owners => $"~ service account {Name} ({Persons[0]}) is owned by {OwnerText(Who)} from now on, and by nobody else: who is no longer among them can approve what it asks for",
            ChangeKinds.Disable => $"- {Who(Persons[0])} was disabled{(Persons.Count > 1 ? $", with the linked {string.Join(", ", Persons.Skip(1).Select(Who))}" : "")}: credentials revoked, sessions ended",
            ChangeKinds.WithdrawEnrolment => $"- {Who(Persons[0])} is no longer enrolled: may not approve any more",
            ChangeKinds.RevokeCredential => $"- access credential {Name} of {Who(Persons[0])} was revoked",
            ChangeKinds.EndSession => $"- session {Name} was ended",
            _ => ToDocument(),
        };
    }

    private string OwnerText(Func<string, string> who) => string.Join(", ", Persons.Skip(1).Select(who).Concat(string.IsNullOrEmpty(Team) ? [] : [$"everybody in the group {Team} of the provider"]));

    private static void Append(StringBuilder text, string value)
    {
        text.Append('"');
        foreach (var unit in value)
        {
            if (unit is '"' or '\\' or < ' ' or > '~')
            {
                text.Append(CultureInfo.InvariantCulture, $"\\u{(int)unit:x4}");
            }
            else
            {
                text.Append(unit);
            }
        }

        text.Append('"');
    }
}
