"""Export of models as ONNX graphs and TensorRT engines."""
