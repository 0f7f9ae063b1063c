"""Measuring sensitivity on real models."""
