"""Small training loops: data, networks, and who chooses the formats of the next step."""
