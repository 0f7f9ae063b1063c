"""One module for each group of families of formats."""
