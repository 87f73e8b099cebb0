"""Connections with viewers and senders."""
