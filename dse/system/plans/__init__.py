"""Parallel plans: what they cost, what they hold, and which is best."""
