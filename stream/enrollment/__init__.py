"""Adding people: the one checked way in, and which photos count."""
