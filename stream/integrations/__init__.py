"""Integrations: events sent to other programs."""
