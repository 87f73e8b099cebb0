"""MXNet checkpoints without MXNet: read, and converted to ONNX."""
