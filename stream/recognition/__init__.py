"""Faces over time: the batcher, the pipeline, tracks and votes."""
