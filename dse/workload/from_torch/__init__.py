"""Torch models as networks, from the operators that the framework really runs."""
