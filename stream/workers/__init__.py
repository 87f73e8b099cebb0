"""Processes that run cameras beside the service: their capture, recognition and video."""
