"""An ONNX graph before it has layers: bodies written out, shapes, what its axes mean."""
