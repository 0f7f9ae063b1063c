"""Exact allocation of formats: one choice per group of tied layers at the least cost within limits, whole fronts, and bounds."""
