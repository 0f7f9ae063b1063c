"""A run folder as a report reads it."""
