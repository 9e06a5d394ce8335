from map_fixtures import diverse, joined, maps, merging  # noqa: F401
