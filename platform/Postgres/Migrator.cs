using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Npgsql;

namespace Countersign.Platform.Postgres;

/// <summary>
/// Brings a schema up to date. Of several replicas that start at once one does it, all or nothing, in one transaction under an advisory lock; the others
/// wait and find it done. A schema of a newer program, or one whose steps are not those of this program, is refused and left as it is.
/// </summary>
internal static class Migrator
{
    private const int MinimumServer = 140_000;

    /// <summary>Applies what is missing.</summary>
    /// <param name="connection">Open connection of the schema's owner.</param>
    /// <param name="schema">Schema.</param>
    /// <param name="components">What must be in it.</param>
    /// <param name="role">The service's role, where it is another one than the owner; else null.</param>
    /// <returns>Steps applied.</returns>
    /// <exception cref="SchemaVersionException">The schema is not for this program.</exception>
    public static int Apply(NpgsqlConnection connection, string schema, IReadOnlyList<SchemaComponent> components, string? role)
    {
        CheckServer(connection);
        if (Missing(connection, null, schema, components).Count == 0)
        {
            return 0;
        }

        using var transaction = connection.BeginTransaction();
        using (var locking = new NpgsqlCommand("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", connection, transaction))
        {
            locking.Parameters.AddWithValue($"countersign schema {schema}");
            locking.ExecuteNonQuery();
        }

        // Again: another replica may have done it while this one waited.
        var missing = Missing(connection, transaction, schema, components);
        if (missing.Count == 0)
        {
            return 0;
        }

        var name = Quote(schema);
        Execute(connection, transaction, $"""
            CREATE SCHEMA IF NOT EXISTS {name};
            CREATE TABLE IF NOT EXISTS {name}.schema_version (
              component text NOT NULL, version int NOT NULL, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(),
              PRIMARY KEY (component, version));
            """);
        foreach (var (component, migration) in missing)
        {
            Execute(connection, transaction, migration.Sql.Replace("{schema}", name, StringComparison.Ordinal));
            using var note = new NpgsqlCommand($"INSERT INTO {name}.schema_version (component, version, name, checksum) VALUES ($1, $2, $3, $4)", connection, transaction);
            note.Parameters.AddWithValue(component.Name);
            note.Parameters.AddWithValue(migration.Version);
            note.Parameters.AddWithValue(migration.Name);
            note.Parameters.AddWithValue(Checksum(migration));
            note.ExecuteNonQuery();
        }

        if (role is not null)
        {
            var grantee = Quote(role);
            Execute(connection, transaction, $"GRANT USAGE ON SCHEMA {name} TO {grantee}; GRANT SELECT ON {name}.schema_version TO {grantee}");
            foreach (var component in components)
            {
                Execute(connection, transaction, component.Grants.Replace("{schema}", name, StringComparison.Ordinal).Replace("{role}", grantee, StringComparison.Ordinal));
            }
        }

        transaction.Commit();
        return missing.Count;
    }

    /// <summary>An identifier, quoted.</summary>
    public static string Quote(string name) => '"' + name.Replace("\"", "\"\"", StringComparison.Ordinal) + '"';

    private static void CheckServer(NpgsqlConnection connection)
    {
        using var command = new NpgsqlCommand("SELECT current_setting('server_version_num')::int, current_setting('server_encoding')", connection);
        using var row = command.ExecuteReader();
        row.Read();
        if (row.GetInt32(0) < MinimumServer)
        {
            throw new SchemaVersionException("PostgreSQL 14 or newer is needed.");
        }

        if (row.GetString(1) != "UTF8")
        {
            throw new SchemaVersionException("The database must have the encoding UTF8.");
        }
    }

    private static List<(SchemaComponent Component, Migration Migration)> Missing(
        NpgsqlConnection connection, NpgsqlTransaction? transaction, string schema, IReadOnlyList<SchemaComponent> components)
    {
        var applied = new Dictionary<(string, int), string>();

        // Not to_regclass: that looks into a cache, which waiting for an advisory lock doesn't refresh.
        const string Exists = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'schema_version')";
        using (var exists = new NpgsqlCommand(Exists, connection, transaction))
        {
            exists.Parameters.AddWithValue(schema);
            if ((bool)exists.ExecuteScalar()!)
            {
                using var versions = new NpgsqlCommand($"SELECT component, version, checksum FROM {Quote(schema)}.schema_version", connection, transaction);
                using var row = versions.ExecuteReader();
                while (row.Read())
                {
                    applied.Add((row.GetString(0), row.GetInt32(1)), row.GetString(2));
                }
            }
        }

        var missing = new List<(SchemaComponent, Migration)>();
        foreach (var component in components)
        {
            var newest = component.Migrations.Max(migration => migration.Version);
            var found = applied.Keys.Where(key => key.Item1 == component.Name).Select(key => key.Item2).DefaultIfEmpty(0).Max();
            if (found > newest)
            {
                throw new SchemaVersionException(string.Create(
                    CultureInfo.InvariantCulture, $"'{component.Name}' in schema {schema} has version {found}, this program knows {newest}: a newer one was here, and this one must not go on."));
            }

            foreach (var migration in component.Migrations)
            {
                if (!applied.TryGetValue((component.Name, migration.Version), out var checksum))
                {
                    missing.Add((component, migration));
                }
                else if (checksum != Checksum(migration))
                {
                    throw new SchemaVersionException($"Version {migration.Version} of '{component.Name}' in schema {schema} is not the one that this program knows.");
                }
            }
        }

        return missing;
    }

    private static string Checksum(Migration migration) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(migration.Sql.ReplaceLineEndings("\n"))));

    private static void Execute(NpgsqlConnection connection, NpgsqlTransaction transaction, string sql)
    {
#pragma warning disable CA2100 // constants of the program; names are quoted
        using var command = new NpgsqlCommand(sql, connection, transaction);
#pragma warning restore CA2100
        command.ExecuteNonQuery();
    }
}
