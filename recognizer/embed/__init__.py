"""Embeddings of crops, and gender and age of faces."""
