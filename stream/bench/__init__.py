"""Benchmarks of live recognition and search."""
