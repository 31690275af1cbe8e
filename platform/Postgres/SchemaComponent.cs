namespace Countersign.Platform.Postgres;

/// <summary>One step of a schema. Steps that a release had are never changed, only followed by others; replicas of the release before must go on working with it.</summary>
/// <param name="Version">From 1, without gaps.</param>
/// <param name="Name">For people.</param>
/// <param name="Sql">Statements; <c>{schema}</c> stands for the schema's name, quoted.</param>
public sealed record Migration(int Version, string Name, string Sql);

/// <summary>Tables that belong together and have versions of their own, e.g. <c>state</c>.</summary>
/// <param name="Name">Name in <c>schema_version</c>.</param>
/// <param name="Migrations">All steps there ever were, in their order.</param>
/// <param name="Grants">
/// What the service's role may do where it isn't the owner; <c>{schema}</c> and <c>{role}</c> are replaced. Repeatable; executed after every migration.
/// </param>
public sealed record SchemaComponent(string Name, IReadOnlyList<Migration> Migrations, string Grants);

/// <summary>A schema that this program can't work with. The process must not go on.</summary>
public sealed class SchemaVersionException : Exception
{
    /// <summary>Says why.</summary>
    public SchemaVersionException(string message)
        : base(message)
    {
    }

    /// <summary>Says why.</summary>
    public SchemaVersionException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public SchemaVersionException()
    {
    }
}
