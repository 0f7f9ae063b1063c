"""Number formats of a quantized ONNX model: what its quantizers say, in every spelling, as names of formats."""
