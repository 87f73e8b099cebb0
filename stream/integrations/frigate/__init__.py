"""Frigate: its HTTP API, and the names that its events get from our tracks."""
