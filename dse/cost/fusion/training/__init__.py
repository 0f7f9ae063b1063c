"""Tensors of a training step that wait on the chip, of the whole batch or slice by slice of it."""
