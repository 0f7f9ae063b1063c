"""What a step works on: tensors, work without MACs, statistics."""
