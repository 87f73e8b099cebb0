"""Verification accuracy of embeddings, and plots of it."""
