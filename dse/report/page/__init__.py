"""The page of a run and what its script draws."""
