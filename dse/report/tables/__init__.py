"""Tables for terminals, papers and texts."""
