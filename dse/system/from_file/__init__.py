"""System files: their keys, and reading them."""
