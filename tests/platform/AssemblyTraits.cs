[assembly: Trait("group", "unit")]
