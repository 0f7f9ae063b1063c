"""Workload files: their keys, and how operations become loop nests."""
