"""Losses: classification with a margin, and triplets."""
