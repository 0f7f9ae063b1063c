"""The inner problem of a search: what is asked, its limits, and the best bit map of one design."""
