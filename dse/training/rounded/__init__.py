"""Products of torch modules with rounded operands."""
