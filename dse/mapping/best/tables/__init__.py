"""Tables of best mappings: built, kept on disk, and looked up."""
