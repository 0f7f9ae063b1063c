"""The search for the best mapping of one nest at one point."""
