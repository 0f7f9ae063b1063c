"""Tensors of a step in memory: how they lie there, which copies there are, and what is held at the peak."""
