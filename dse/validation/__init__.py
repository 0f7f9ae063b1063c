"""Published and measured figures against ours, with signed errors."""
