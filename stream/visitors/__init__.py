"""Visitors: unknown people who are recognized again, without a name."""
