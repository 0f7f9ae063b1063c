"""The best mapping of a nest: enumeration with exact pruning, tables on disk, and scoring in bulk."""
