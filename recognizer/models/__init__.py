"""Models: the manifest of the built-in ones, the user's own, and their names."""
