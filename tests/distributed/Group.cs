[assembly: Trait("group", "distributed")]
