"""Labelled crops in, model files out."""
