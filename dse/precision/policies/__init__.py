"""Published decision rules: when a width changes."""
