"""Adapting a network to the people and cameras of a site."""
