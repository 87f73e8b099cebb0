"""Cameras of several machines, placed on them by way of PostgreSQL; needs the extra `cluster`."""
