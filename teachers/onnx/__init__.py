"""ONNX programs as teachers, run by PyTorch."""
