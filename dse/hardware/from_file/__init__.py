"""Hardware files: their keys, what is plausible, and reading them."""
