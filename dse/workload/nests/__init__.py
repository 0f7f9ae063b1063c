"""Loop nests: how large they may be, axes and factors, and their text."""
