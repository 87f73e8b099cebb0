"""Models: the manifest of those that facewire knows, the user's own, and how one is named."""
