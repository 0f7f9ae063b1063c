"""Layers that meet on the chip: layers without MACs, epilogues, and tensors that stay until they are read."""
