"""Further published systems: each as schedules, formats, rules or chips of this model, with what was published of it."""
