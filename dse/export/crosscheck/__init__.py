"""ZigZag on an exported design, its figures beside ours."""
