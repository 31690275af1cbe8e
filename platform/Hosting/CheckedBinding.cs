using System.Collections;
using System.ComponentModel;
using System.Reflection;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Countersign.Platform.Hosting;

/// <summary>
/// Binds options so that a value that is no number, duration or the like is one more line in the list of what is wrong, instead of an exception that
/// hides all others.
/// </summary>
public static class CheckedBinding
{
    /// <summary>Binds a section; what can't be read fails the validation of the options, together with everything else that does.</summary>
    /// <param name="builder">The options.</param>
    /// <param name="section">Their section.</param>
    public static OptionsBuilder<T> BindChecked<T>(this OptionsBuilder<T> builder, IConfigurationSection section)
        where T : class
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(section);
        builder.Services.AddSingleton<IValidateOptions<T>>(new UnreadableValues<T>(section));
        return builder.Configure(options => section.BindChecked(options));
    }

    /// <summary>Binds what can be read of a section.</summary>
    /// <param name="section">The section.</param>
    /// <param name="options">Where to.</param>
    /// <returns>A line for each value that can't be read; the values themselves are not in it.</returns>
    public static IReadOnlyList<string> BindChecked(this IConfigurationSection section, object options)
    {
        ArgumentNullException.ThrowIfNull(section);
        ArgumentNullException.ThrowIfNull(options);
        var values = section.AsEnumerable(makePathsRelative: true)
            .Where(pair => pair.Key.Length > 0)
            .ToDictionary(pair => pair.Key, pair => pair.Value, StringComparer.OrdinalIgnoreCase);
        var errors = new List<string>();
        foreach (var (key, expected) in Unreadable(options.GetType(), "", values).ToList())
        {
            errors.Add($"{section.Path}:{key} must be {expected}.");
            values.Remove(key);
        }

        new ConfigurationBuilder().AddInMemoryCollection(values).Build().Bind(options);
        return errors;
    }

    private static IEnumerable<(string Key, string Expected)> Unreadable(Type type, string prefix, Dictionary<string, string?> values)
    {
        foreach (var property in type.GetProperties(BindingFlags.Public | BindingFlags.Instance))
        {
            foreach (var wrong in UnreadableValue(property.PropertyType, prefix + property.Name, values))
            {
                yield return wrong;
            }
        }
    }

    private static IEnumerable<(string Key, string Expected)> UnreadableValue(Type type, string key, Dictionary<string, string?> values)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        if (type == typeof(string) || type == typeof(object))
        {
            return [];
        }

        if (TypeDescriptor.GetConverter(type) is var converter && converter.CanConvertFrom(typeof(string)))
        {
            return values.TryGetValue(key, out var value) && !string.IsNullOrEmpty(value) && !CanRead(converter, value) ? [(key, Expected(type))] : [];
        }

        var below = values.Keys.Where(each => each.StartsWith(key + ":", StringComparison.OrdinalIgnoreCase)).ToList();
        if (below.Count == 0)
        {
            return [];
        }

        return Element(type) is { } element
            ? below.Select(each => each[..(each.IndexOf(':', key.Length + 1) is >= 0 and var end ? end : each.Length)]).Distinct(StringComparer.OrdinalIgnoreCase)
                .SelectMany(each => UnreadableValue(element, each, values))
            : Unreadable(type, key + ":", values);
    }

    private static Type? Element(Type type)
    {
        if (!typeof(IEnumerable).IsAssignableFrom(type))
        {
            return null;
        }

        var arguments = type.IsArray ? [type.GetElementType()!] : type.GetGenericArguments();
        return arguments.Length == 0 ? typeof(object) : arguments[^1];
    }

    private static bool CanRead(TypeConverter converter, string value)
    {
        try
        {
            return converter.ConvertFromInvariantString(value) is not null;
        }
        catch (Exception error) when (error is FormatException or ArgumentException or NotSupportedException or OverflowException || error.InnerException is FormatException or OverflowException)
        {
            return false;
        }
    }

    private static string Expected(Type type) =>
        type == typeof(bool) ? "true or false"
        : type == typeof(TimeSpan) ? "a duration such as 00:00:30"
        : type == typeof(Uri) ? "a URL"
        : type.IsEnum ? $"one of {string.Join(", ", Enum.GetNames(type))}"
        : type.IsPrimitive || type == typeof(decimal) ? "a number that fits"
        : $"a {type.Name}";

    private sealed class UnreadableValues<T>(IConfigurationSection section) : IValidateOptions<T>
        where T : class
    {
        public ValidateOptionsResult Validate(string? name, T options) =>
            section.BindChecked(Activator.CreateInstance<T>()) is { Count: > 0 } errors ? ValidateOptionsResult.Fail(errors) : ValidateOptionsResult.Success;
    }
}
