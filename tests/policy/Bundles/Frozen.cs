namespace Countersign.Policy.Tests.Bundles;

/// <summary>Bytes of formats that outlive the process. A change here breaks what is stored: it needs another version of the format.</summary>
internal static class Frozen
{
    internal const string Encapsulated = "BK6_TvJ4KARx0NWDF08vhdLkBRwGyLQVDB1quPuTQWB9QxFF6FS5HSKkQIzATXu0F0F9g6mpuKC3HCjfV0ihqa8";
    internal const string Ciphertext = "3l7zj05bM3B5utxS8tQHCGuuWyreuMq8yO9CPYuIM-f4HkMfIJY0oXeHf_SkitTd1X_GIH91aKhhIXZZMYVbPA";

    internal const string Payload = """{"version":5,"createdAt":"2026-05-04T10:00:00+00:00","documents":[{"name":"a.yaml","yaml":"# one\n"},{"name":"b.yaml","yaml":"# b\n"}],"connections":[{"name":"crm","protocol":"postgres","host":"db.example.com","port":5432,"database":"crm","tls":"verify-full","labels":{"env":"prod","tier":"gold"},"proxyGroup":"default","credential":{"suite":"s","keyId":"k1","encapsulated":"ZW5j","ciphertext":"Y3Q"}},{"name":"shop","protocol":"postgres","host":"127.0.0.1","port":5432,"database":"shop","tls":"disable","labels":{},"proxyGroup":"default"}]}""";

    /// <summary>A connection whose credential a provider has. What names none is encoded as before there were any.</summary>
    internal const string ProvidedPayload = """{"version":6,"createdAt":"2026-05-04T10:00:00+00:00","documents":[],"connections":[{"name":"shop","protocol":"postgres","host":"127.0.0.1","port":5432,"database":"shop","tls":"disable","labels":{},"proxyGroup":"default","credentialFrom":"secret-store"}]}""";

    internal const string Digest = "a5ce37e2a8c03cc25b779ab5ae5a875dc0d7337c3b4c4f6ce3dc2ed17407dd86";
}
