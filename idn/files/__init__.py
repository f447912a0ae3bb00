"""Files: atomic writes, tensors in and out, safe pickles, ONNX graphs, photographs, published timm backbones."""
