"""ONNX models as networks: reading, shapes, layers, formats, and what was left out."""
