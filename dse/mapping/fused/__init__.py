"""Layers that run fused: explicit schedules as data, their counts, and their time."""
