"""From steps to what users ask: a design, a batch sweep, a training run, error bars."""
