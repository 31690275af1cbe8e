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
    /// <summary>Makes a service account with its owners.</summary>
    public const string ServiceAccount = "service-account";
}

/// <summary>One change of who counts as whom: what a control request at approval is about (docs/formats/identity-change.md).</summary>
/// <param name="Kind">One of <see cref="ChangeKinds"/>.</param>
/// <param name="Persons">Persons it is about: one, the two linked ones in ordinal order, or the new account and then its owners in ordinal order.</param>
/// <param name="Name">Name of the person or the new account, for people.</param>
public sealed record IdentityChange(string Kind, IReadOnlyList<string> Persons, string Name)
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
            ChangeKinds.ServiceAccount => $"+ service account {Name} ({Persons[0]}), owned by {string.Join(", ", Persons.Skip(1).Select(Who))}",
            _ => ToDocument(),
        };
    }

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
