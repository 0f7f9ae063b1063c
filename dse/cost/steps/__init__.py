"""The cost of one step, pass by pass, and what low precision itself costs."""
