"""Layers of the ONNX operators, by kind of operator."""
