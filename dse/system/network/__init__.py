"""A network under a parallel plan: its blocks, how they are cut, and the rows that are left."""
