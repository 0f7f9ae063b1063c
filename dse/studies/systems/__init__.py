"""One module for each published system."""
