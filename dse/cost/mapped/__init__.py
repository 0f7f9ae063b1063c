"""Cost of jobs under a mapping: the best one, or one that is given."""
