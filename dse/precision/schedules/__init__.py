"""Schedules: plans over training time."""
