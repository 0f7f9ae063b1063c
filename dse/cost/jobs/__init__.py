"""Jobs: the distinct products of a network under its plans, with the formats of their operands."""
