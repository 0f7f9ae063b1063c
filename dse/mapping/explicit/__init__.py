"""Explicit mappings: as data and text, their counts, their cycles, and the nest that is really run."""
