"""Metrics of the running service."""
