"""Studies of several systems, or of assumptions, side by side."""
