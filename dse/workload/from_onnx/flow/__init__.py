"""What is known of an ONNX graph while its operators are walked: shapes, samples, repeats."""
