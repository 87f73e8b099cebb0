"""Figures that are counted while the service runs."""
