"""Backup and restore of everything that a service stores, in one file."""
