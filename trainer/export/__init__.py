"""From a checkpoint to ONNX and MXNet files."""
