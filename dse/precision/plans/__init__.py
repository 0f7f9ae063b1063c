"""Plans: the format of every tensor of a network."""
