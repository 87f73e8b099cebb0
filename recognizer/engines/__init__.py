"""Where networks and image work run: OpenVINO, ONNX Runtime, OpenCV."""
