"""Whole tensors that wait on the chip in an inference."""
