"""The best mapping of a nest: the search for it, tables of what was found, on disk too, and their lookup in bulk."""
