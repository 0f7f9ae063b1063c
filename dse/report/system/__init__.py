"""Pages and drawings of systems of many accelerators, from records of their cost; no browser is needed."""
