"""The loss of pre-training by size, tokens and formats."""
